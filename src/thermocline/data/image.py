"""Image columns as uint8 pixels: reading, checking, resizing as the backbone wants it, augmentation."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from thermocline.data.columns import Column, Columns
from thermocline.errors import ImageReadError, listing

if TYPE_CHECKING:
    from PIL.Image import Image


NO_IMAGE = "neither a path nor bytes nor a PIL image"


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


def open_image(value: object, folder: Path | None = None) -> Image:
    """Read a path, bytes or a PIL image as RGB; transparency is laid over white, EXIF rotation is undone.

    Args:
        value: A path (relative ones are tried below `folder` first), encoded bytes, or a PIL image.
        folder: Where relative paths start.

    Raises:
        OSError: The file is missing or cannot be decoded.
    """
    from PIL import Image as pil
    from PIL import ImageOps

    try:
        if isinstance(value, pil.Image):
            image = value
        else:
            if isinstance(value, str | os.PathLike):
                value = find_image(str(value), folder).read_bytes()
            if not isinstance(value, bytes | bytearray | memoryview):
                raise TypeError(NO_IMAGE)
            image = pil.open(io.BytesIO(value))
        image.load()
        image = ImageOps.exif_transpose(image)
        if image.mode.startswith("I") or image.mode == "F":
            return _deep_grey(image)
        if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
            image = image.convert("RGBA")
            paper = pil.new("RGBA", image.size, (255, 255, 255, 255))
            return pil.alpha_composite(paper, image).convert("RGB")
        return image.convert("RGB")
    except (OSError, MemoryError):
        raise
    except Exception as error:  # a damaged file can raise nearly anything in Pillow's readers
        raise OSError(str(error) or type(error).__name__) from error


def find_image(path: str, folder: Path | None) -> Path:
    """Return where a path lies: below `folder` where it does, else as given."""
    if folder is not None and not Path(path).is_absolute() and (folder / path).is_file():
        return folder / path
    return Path(path)


def _deep_grey(image: Image) -> Image:
    """16- and 32-bit greys: scaled by their own range of 8, 16 bits or to their extremes."""
    from PIL import Image as pil

    values = np.asarray(image, dtype=np.float64)
    values = np.where(np.isfinite(values), values, 0.0)  # float TIFFs mark holes so
    top = 255.0 if values.max() <= 255 and values.min() >= 0 else 65535.0
    if values.max() > top or values.min() < 0:
        values, top = values - values.min(), float(np.ptp(values)) or 1.0
    return pil.fromarray((values / top * 255).round().astype(np.uint8)).convert("RGB")


def is_missing(value: object) -> bool:
    """Say whether a cell of an image column holds no image (None, NaN, an empty path)."""
    if value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value)):
        return True
    return isinstance(value, str) and not value.strip()


def unreadable_rows(
    frame: pd.DataFrame, columns: Sequence[Column], folder: Path | None, *, decode: bool
) -> dict[int, str]:
    """Find the rows whose images cannot be read.

    Args:
        frame: The rows.
        columns: The image columns.
        folder: Where relative paths start.
        decode: Decode every image (finds truncated files too), or only look whether files are there.

    Returns:
        Row position → what is wrong, for the first fault of a row.
    """
    from PIL import Image as pil

    faults: dict[int, str] = {}
    for column in columns:
        for row, value in enumerate(frame[column.name]):
            if row in faults or is_missing(value):
                continue
            try:
                if decode:
                    open_image(value, folder)
                elif isinstance(value, str | os.PathLike):
                    if not find_image(str(value), folder).is_file():
                        raise FileNotFoundError("no such file")
                elif not isinstance(value, bytes | bytearray | memoryview | pil.Image):
                    raise TypeError(NO_IMAGE)
            except (OSError, TypeError) as error:
                where = value if isinstance(value, str | Path) else type(value).__name__
                reason = "no such file" if isinstance(error, FileNotFoundError) else str(error) or repr(error)
                faults[row] = f"column {column.name!r}: {where}: {reason}"
    return faults


@dataclass(frozen=True)
class ImageRows:
    """The cells of the image columns, decoded when a batch is made.

    Attributes:
        cells: One tuple of cells a row, one cell an image column.
        folder: Where relative paths start.
        spec: What the backbone wants.
        augment: The training transform, or `None` for the plain one.
        seed: Augmentation is a function of (seed, epoch, row).
        names: The image columns, for messages.
    """

    cells: tuple[tuple[object, ...], ...]
    folder: Path | None
    spec: ImageSpec
    augment: str | None = None
    seed: int = 0
    names: tuple[str, ...] = ()

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

    def batch(self, rows: np.ndarray, epoch: int | None = None) -> dict[str, np.ndarray]:
        """Return `pixels`, uint8 `(len(rows), columns, 3, height, width)`, and `present`, bool `(len(rows), columns)`.

        Args:
            rows: Row positions.
            epoch: The epoch of training, or `None` for the plain transform.

        Raises:
            ImageReadError: An image went missing or cannot be decoded.
        """
        import torch

        plain = plain_transform(self.spec)
        augment = train_transform(self.spec, self.augment) if epoch is not None and self.augment else None
        height, width = self.spec.size
        shape = (len(rows), len(self.cells[0]), 3, height, width)
        pixels, present = np.zeros(shape, dtype=np.uint8), np.zeros(shape[:2], dtype=bool)
        for i, row in enumerate(rows):
            for j, cell in enumerate(self.cells[row]):
                if is_missing(cell):
                    continue
                image = self._open(cell, int(row), j)
                if augment is None:
                    pixels[i, j] = plain(image)
                else:
                    with torch.random.fork_rng(devices=[]):
                        torch.manual_seed(_mix(self.seed, epoch or 0, int(row), j))
                        pixels[i, j] = augment(image)
                present[i, j] = True
        return {"pixels": pixels, "present": present}

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

    def rows(self, frame: pd.DataFrame, folder: Path | None, *, augment: str | None = None, seed: int = 0) -> ImageRows:
        """Collect the cells; nothing is decoded yet.

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
        return ImageRows(cells, folder, self.spec, None if augment == "none" else augment, seed, names)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {"columns": Columns(self.columns).to_dict(), "spec": self.spec.to_dict()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ImageProcessor:
        """Inverse of `to_dict`."""
        return cls(Columns.from_dict(data["columns"]).columns, ImageSpec.from_dict(data["spec"]))


def plain_transform(spec: ImageSpec) -> Callable[[Image], np.ndarray]:
    """Return resize and centre crop as the backbone was evaluated with, to uint8 `(3, height, width)`."""
    from torchvision.transforms import v2

    mode = v2.InterpolationMode(spec.interpolation)
    height, width = spec.size
    enlarged = [int(np.floor(side / spec.crop_fraction)) for side in spec.size]
    steps: list[Any] = [
        v2.Resize(enlarged if spec.squash or height != width else enlarged[0], interpolation=mode, antialias=True),
        v2.CenterCrop([height, width]),
    ]
    return _to_array(v2.Compose(steps))


def train_transform(spec: ImageSpec, strength: str) -> Callable[[Image], np.ndarray]:
    """Return the augmentation of a strength, by torchvision v2.

    `light` crops (at least 60 % of the area) and shifts colours a little; `standard` also mirrors and applies
    TrivialAugment (Müller and Hutter, ICCV 2021).
    """
    from torchvision.transforms import v2

    mode = v2.InterpolationMode(spec.interpolation)
    steps: list[Any] = [
        v2.RandomResizedCrop(list(spec.size), scale=(0.6, 1.0), ratio=(0.85, 1.18), interpolation=mode, antialias=True)
    ]
    if strength == "standard":
        steps += [v2.RandomHorizontalFlip(), v2.TrivialAugmentWide(interpolation=v2.InterpolationMode.BILINEAR)]
    else:
        steps.append(v2.ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2))
    return _to_array(v2.Compose(steps))


def _to_array(transform: Callable[[Image], Image]) -> Callable[[Image], np.ndarray]:
    def apply(image: Image) -> np.ndarray:
        return np.asarray(transform(image), dtype=np.uint8).transpose(2, 0, 1)

    return apply


def _mix(*numbers: int) -> int:
    """Mix integers into one seed (SeedSequence is made for that)."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)
