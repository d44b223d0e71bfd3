"""Image columns as uint8 pixels: batches of cells, each decoded once where pixels are kept."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from thermocline.data.columns import Column, Columns
from thermocline.data.pixel_cache import Keep, PixelCache, pixels_kept
from thermocline.errors import ImageReadError, listing
from thermocline.inputs.image.files import decoded_size, is_missing, open_image, unreadable_rows
from thermocline.inputs.image.transforms import plain_transform, train_transform

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class ImageSpec:
    """How a backbone wants its pixels.

    Attributes:
        size: Height and width in pixels.
        mean: Per channel, of pixels in 0..1.
        std: Per channel, of pixels in 0..1.
        interpolation: `nearest`, `bilinear`, `bicubic`, `lanczos`, `box` or `hamming`.
        crop_fraction: Share of the resized image that the centre crop keeps.
        squash: Resize both sides alike whatever the aspect.
    """

    size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str = "bicubic"
    crop_fraction: float = 1.0
    squash: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ImageSpec:
        """Inverse of `to_dict`."""
        fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items()}
        return cls(**fields)


@dataclass(frozen=True)
class ImageRows:
    """The cells of the image columns, decoded when a batch is made.

    Attributes:
        cells: One tuple of cells a row, one cell an image column.
        folder: Where relative paths start.
        spec: What the backbone wants.
        augment: The training transform, or `None` for the plain one.
        seed: Augmentation is a function of (seed, view, row, column).
        names: The image columns, for messages.
        views: Variants of an image, one an epoch in turn, or `None` for a new one every epoch.
        cache: Pixels that were decoded before: of the whole image where it is augmented, else as the backbone wants
            them.
    """

    cells: tuple[tuple[object, ...], ...]
    folder: Path | None
    spec: ImageSpec
    augment: str | None = None
    seed: int = 0
    names: tuple[str, ...] = ()
    views: int | None = None
    cache: PixelCache | None = field(default=None, compare=False, repr=False)

    def __len__(self) -> int:
        return len(self.cells)

    def pieces(self) -> Iterator[bytes]:
        """Yield what tells the cells apart, for a fingerprint: paths as they are written, else the bits themselves."""
        for cell in (cell for row in self.cells for cell in row):
            if isinstance(cell, bytes | bytearray | memoryview):
                yield hashlib.sha256(cell).digest()
            elif hasattr(cell, "tobytes"):
                yield hashlib.sha256(cell.tobytes()).digest()
            else:
                yield b"" if is_missing(cell) else f"{cell}\n".encode()

    def view(self, rows: np.ndarray, epoch: int | None) -> np.ndarray:
        """Return which variant of its images each row shows in an epoch.

        Variants take turns, so each occurs once in `views` epochs. All rows show the one of the same number, which
        tells nothing: what variant 2 of a row looks like is drawn for that row.

        Args:
            rows: Row positions.
            epoch: The epoch of training, or `None` for images as they are.

        Returns:
            int64 `(len(rows),)`: 0 where nothing is augmented, -1 where augmentation is left out for once, the epoch
            itself where every epoch has its own. Equal numbers are equal pixels.
        """
        if self.augment is None:
            number = 0
        elif epoch is None:
            number = -1
        else:
            number = epoch if self.views is None else epoch % self.views
        return np.full(len(rows), number, dtype=np.int64)

    def batch(self, rows: np.ndarray, epoch: int | None = None) -> dict[str, np.ndarray]:
        """Return `pixels`, uint8 `(len(rows), columns, 3, height, width)`, and `present`, bool `(len(rows), columns)`.

        Args:
            rows: Row positions.
            epoch: The epoch of training, or `None` for the plain transform.

        Raises:
            ImageReadError: An image went missing or cannot be decoded.
        """
        height, width = self.spec.size
        shape = (len(rows), len(self.cells[0]), 3, height, width)
        pixels, present = np.zeros(shape, dtype=np.uint8), np.zeros(shape[:2], dtype=bool)
        views = self.view(rows, epoch) if epoch is not None and self.augment is not None else None
        make = self._plain if views is None else self._varied
        for i, row in enumerate(rows):
            for j, cell in enumerate(self.cells[row]):
                if not is_missing(cell):
                    pixels[i, j] = make(int(row), j, 0 if views is None else int(views[i]))
                    present[i, j] = True
        return {"pixels": pixels, "present": present}

    @contextmanager
    def kept(self, keep: Keep) -> Iterator[ImageRows]:
        """Give the same rows, with their pixels kept while this lasts, as far as they fit."""
        with pixels_kept(self._sizes(), keep) as cache:
            yield replace(self, cache=cache)

    def _sizes(self) -> Iterator[int]:
        plain = 3 * self.spec.size[0] * self.spec.size[1]
        for cell in (cell for row in self.cells for cell in row):
            if is_missing(cell):
                yield 0
            else:
                yield plain if self.augment is None else decoded_size(cell, self.folder)

    def _plain(self, row: int, place: int, _view: int) -> np.ndarray:
        """Return an image as the backbone wants it, from the cache where that has it."""
        transform = plain_transform(self.spec)
        if self.cache is None or self.augment is not None:
            return transform(self._image(row, place))
        slot = row * len(self.cells[0]) + place
        found = self.cache.get(slot)
        if found is None:
            found = transform(self._image(row, place))
            self.cache.put(slot, found)
        return found

    def _varied(self, row: int, place: int, view: int) -> np.ndarray:
        """Return a variant of an image."""
        import torch

        assert self.augment is not None
        image = self._image(row, place)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(_mix(self.seed, view, row, place))
            return train_transform(self.spec, self.augment)(image)

    def _image(self, row: int, place: int) -> Image:
        """Return a decoded image; where whole images are kept, each is decoded once."""
        from PIL import Image as pil

        cell = self.cells[row][place]
        if self.cache is None or self.augment is None:
            return self._open(cell, row, place)
        slot = row * len(self.cells[0]) + place
        found = self.cache.get(slot)
        if found is not None:
            return pil.fromarray(found)
        image = self._open(cell, row, place)
        self.cache.put(slot, np.asarray(image))
        return image

    def _open(self, cell: object, row: int, place: int) -> Image:
        try:
            return open_image(cell, self.folder)
        except (OSError, TypeError) as error:
            where = cell if isinstance(cell, str | Path) else type(cell).__name__
            column = f" of column {self.names[place]!r}" if self.names else ""
            raise ImageReadError(
                f"The image in row {row}{column} cannot be read: {where} ({error}). Restore the file, drop the row, or "
                "set the cell to None where there is no image."
            ) from error


class ImageProcessor:
    """Turns the image columns of a frame into rows for one backbone.

    Args:
        columns: The image columns, in order.
        spec: What the backbone wants.
    """

    def __init__(self, columns: Sequence[Column], spec: ImageSpec) -> None:
        self.columns = tuple(columns)
        self.spec = spec

    def rows(
        self,
        frame: pd.DataFrame,
        folder: Path | None,
        *,
        augment: str | None = None,
        seed: int = 0,
        views: int | None = None,
    ) -> ImageRows:
        """Collect the cells; nothing is decoded yet.

        Args:
            frame: The rows.
            folder: Where relative paths start.
            augment: The training transform; `none` or `None` for the plain one.
            seed: Of the augmentation.
            views: Variants of an image, or `None` for a new one every epoch.

        Raises:
            ImageReadError: A file named in a cell is not there.
        """
        faults = unreadable_rows(frame, self.columns, folder, decode=False)
        if faults:
            raise ImageReadError(
                f"{len(faults)} of {len(frame)} rows name images that cannot be read, first "
                f"{listing([f'row {frame.index[r]}: {why}' for r, why in faults.items()], limit=3)}. "
                "Correct the paths (relative ones start at the CSV's folder, `data.image_folder`, or the "
                "working folder), "
                "or set the cells to None where there is no image."
            )
        cells = tuple(zip(*(frame[c.name].tolist() for c in self.columns), strict=True))
        names = tuple(c.name for c in self.columns)
        return ImageRows(cells, folder, self.spec, None if augment == "none" else augment, seed, names, views)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {"columns": Columns(self.columns).to_dict(), "spec": self.spec.to_dict()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ImageProcessor:
        """Inverse of `to_dict`."""
        return cls(Columns.from_dict(data["columns"]).columns, ImageSpec.from_dict(data["spec"]))


def _mix(*numbers: int) -> int:
    """Mix integers into one seed (SeedSequence is made for that)."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)
