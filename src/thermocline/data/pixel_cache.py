"""A cache of decoded images, in memory or in a file, that worker processes fill and read too."""

from __future__ import annotations

import mmap
import multiprocessing
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from thermocline.data.memory_budget import Budget
from thermocline.data.reserving import reserve
from thermocline.errors import ThermoclineWarning

HEAD = 12  # bytes a slot for the shape of its array: three int32, zeros where the slot is empty
DISK_SHARE = 0.9  # of the free disk that a file may take


@dataclass(frozen=True)
class Keep:
    """Where pixels are kept.

    Attributes:
        where: `off`; `auto`: in memory, from the first on as many as the budget allows; `memory`: likewise, and smaller
            ones after one that does not fit, for which the size of every image is read; `disk`: in a file that is
            removed afterwards.
        budget: The memory that caches share.
        folder: Where the file lies; `None` for the folder of temporary files.
        shared: Whether worker processes make batches.
    """

    where: str
    budget: Budget
    folder: Path | None = None
    shared: bool = False


class PixelCache:
    """Arrays of pixels, each in a slot of one block of memory.

    There is no lock: each process writes the images that it decodes, and two that write one at once write the same
    bits. The shape is written last; the slot counts as filled from then on.

    Args:
        sizes: Bytes of each slot, int64 `(slots,)`; 0 for an image that is not kept.
        memory: Zeros, `len(sizes) * HEAD + sizes.sum()` bytes.
        path: The file behind the memory, if another process has to open it by name.
    """

    def __init__(self, sizes: np.ndarray, memory: mmap.mmap, path: Path | None = None) -> None:
        self.sizes = sizes
        self.path = path
        self._map(memory)

    def _map(self, memory: mmap.mmap | None) -> None:
        whole = np.frombuffer(memory, dtype=np.uint8) if memory is not None else np.zeros(0, dtype=np.uint8)
        kept = len(self.sizes) if memory is not None else 0
        self._shapes = whole[: HEAD * kept].view(np.int32).reshape(kept, 3)
        self._pixels = whole[HEAD * kept :]
        self._starts = np.cumsum(self.sizes[:kept]) - self.sizes[:kept]

    def get(self, slot: int) -> np.ndarray | None:
        """Return the array in a slot, uint8, valid until `close`; `None` where the slot is empty."""
        if not len(self._shapes) or not self._shapes[slot, 0]:
            return None
        start = self._starts[slot]
        return self._pixels[start : start + self.sizes[slot]].reshape(self._shapes[slot])

    def put(self, slot: int, array: np.ndarray) -> None:
        """Keep an array of three dimensions, uint8, where its slot has exactly that many bytes."""
        if not len(self._shapes) or array.size != self.sizes[slot]:
            return
        start = self._starts[slot]
        self._pixels[start : start + array.size].reshape(array.shape)[...] = array
        self._shapes[slot, 1:] = array.shape[1:]
        self._shapes[slot, 0] = array.shape[0]

    def __len__(self) -> int:
        return int((self._shapes[:, 0] > 0).sum())

    def close(self) -> None:
        """Release the memory and remove the file; afterwards the cache is empty and keeps nothing."""
        self._map(None)
        if self.path is not None:
            self.path.unlink(missing_ok=True)

    def __getstate__(self) -> dict[str, Any]:
        return {"sizes": self.sizes, "path": self.path}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Open the file in another process; memory without a file is not shared with it, so nothing is kept."""
        self.sizes, self.path = state["sizes"], state["path"]
        memory = None
        if self.path is not None and self.path.exists():
            with self.path.open("r+b") as file:
                memory = mmap.mmap(file.fileno(), 0)
        self._map(memory)


@contextmanager
def pixels_kept(sizes: Iterable[int], count: int, keep: Keep) -> Iterator[PixelCache | None]:
    """Yield a cache until the context ends, or `None` where there is to be none or nothing fits.

    Args:
        sizes: Bytes of each image; 0 for one that is not to be kept. Read no further than needed.
        count: How many images there are.
        keep: Where pixels are kept.
    """
    on_disk = keep.where == "disk"
    folder = keep.folder or Path(tempfile.gettempdir())
    most = int(DISK_SHARE * _free_disk(folder)) if on_disk else keep.budget.left
    most = 0 if keep.where == "off" else most - HEAD * count
    chosen = _that_fit(sizes, count, most, one_after_another=keep.where == "auto")
    if not chosen.any():
        yield None
        return
    total = HEAD * count + int(chosen.sum())
    taken = 0 if on_disk or not keep.budget.take(total) else total
    cache = _make(chosen, total, keep, folder) if on_disk or taken else None
    try:
        yield cache
    finally:
        if cache is not None:
            cache.close()
        keep.budget.give_back(taken)


def _that_fit(sizes: Iterable[int], count: int, most: int, *, one_after_another: bool) -> np.ndarray:
    """Return the sizes that fit, int64 `(count,)`, 0 for the others.

    Args:
        sizes: Bytes of each image.
        count: How many images there are.
        most: Bytes of all.
        one_after_another: Whether no more is read after one that does not fit.
    """
    chosen = np.zeros(count, dtype=np.int64)
    for slot, size in enumerate(sizes if most > 0 else ()):
        if size <= most:
            chosen[slot] = size
            most -= size
        elif one_after_another:
            break
    return chosen


def _make(sizes: np.ndarray, total: int, keep: Keep, folder: Path) -> PixelCache | None:
    # a forked process shares this one's memory; one that is spawned has to open a file
    by_name = keep.shared and multiprocessing.get_start_method() != "fork"
    try:
        if keep.where != "disk" and not by_name:
            return PixelCache(sizes, mmap.mmap(-1, total))
        folder.mkdir(parents=True, exist_ok=True)
        number, name = tempfile.mkstemp(prefix="thermocline-images-", dir=folder)
        path = Path(name)
        try:
            reserve(number, total)
            cache = PixelCache(sizes, mmap.mmap(number, total), path)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        finally:
            os.close(number)
    except OSError as error:
        warnings.warn(
            f"No cache of images: {total / 10**9:.2f} GB cannot be allocated in {str(folder)!r} ({error}). Images are "
            "decoded in every epoch. Set env.cache_folder, or env.cache_images=off.",
            ThermoclineWarning,
            stacklevel=5,
        )
        return None
    if not by_name and os.name == "posix":
        path.unlink()  # the memory stays valid; a process that is killed leaves no file
        cache.path = None
    return cache


def _free_disk(folder: Path) -> int:
    there = next((f for f in (folder, *folder.absolute().parents) if f.exists()), None)
    return shutil.disk_usage(there).free if there is not None else 0
