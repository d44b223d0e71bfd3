"""Image columns as uint8 pixels, decoded when a batch is made; each once where pixels are kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from thermocline.data.pixel_cache import Keep, PixelCache, pixels_kept
from thermocline.data.row_part import RowPart
from thermocline.errors import DataError, ImageReadError, first_line
from thermocline.inputs.image.cell_identity import cell_contents, cell_files, cell_names
from thermocline.inputs.image.cells import cell_text, is_missing, reason_of
from thermocline.inputs.image.files import decoded_size, open_image
from thermocline.inputs.image.grey import Range
from thermocline.inputs.image.own_transform import own_transform, seeded
from thermocline.inputs.image.spec import ImageSpec
from thermocline.inputs.image.transforms import plain_transform, train_transform

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image


@dataclass(frozen=True)
class ImageRows(RowPart):
    """The cells of the image columns, decoded when a batch is made.

    Attributes:
        cells: One tuple of cells a row, one cell an image column.
        folder: Where relative paths start.
        spec: The pixels that the backbone takes.
        augment: The training transform, or `None` for the plain one.
        seed: Augmentation is a function of (seed, variant, row, column).
        names: The image columns, for messages.
        views: Variants of an image, one an epoch in turn, or `None` for a new one every epoch.
        ranges: For each image column the range of values of more than 8 bits, where training images had some.
        erasing: The share of varied images in which a rectangle is erased.
        mixed: Whether training mixes images with each other.
        transform: The training transform of the caller's own, whose recorded name `augment` is; or `None`.
        cache: Pixels that were decoded before: of the whole image where it is augmented, else resized and cropped.
    """

    cells: tuple[tuple[object, ...], ...]
    folder: Path | None
    spec: ImageSpec
    augment: str | None = None
    seed: int = 0
    names: tuple[str, ...] = ()
    views: int | None = None
    ranges: tuple[Range | None, ...] = ()
    erasing: float = 0.0
    mixed: bool = False
    transform: Any = field(default=None, compare=False, repr=False)
    cache: PixelCache | None = field(default=None, compare=False, repr=False)

    def __len__(self) -> int:
        return len(self.cells)

    @property
    def decodes(self) -> bool:
        """True: of images."""
        return True

    @property
    def per_row(self) -> int:
        """Image columns."""
        return len(self.cells[0]) if self.cells else 1

    @property
    def variants(self) -> int | None:
        """1 without augmentation; else `views`."""
        return 1 if self.augment is None else self.views

    @property
    def augmented(self) -> bool:
        """Whether training images are varied."""
        return self.augment is not None

    def variant(self, rows: np.ndarray, epoch: int | None) -> np.ndarray:
        """Return which variant of its images each row shows in an epoch.

        Variants take turns, so each occurs once in `views` epochs. All rows show the variant of the same number, but
        what variant 2 of a row looks like is drawn for that row.

        Args:
            rows: Row positions.
            epoch: The epoch of training, or `None` for images as they are.

        Returns:
            int64 `(len(rows),)`: 0 where nothing is augmented, -1 for images as they are among augmented ones, the
            epoch itself where every epoch has its own. Equal numbers are equal pixels.
        """
        if self.augment is None:
            number = 0
        elif epoch is None:
            number = -1
        else:
            number = epoch if self.views is None else epoch % self.views
        return np.full(len(rows), number, dtype=np.int64)

    def not_cacheable(self) -> str | None:
        """Return why outputs for these images cannot be reused: they are new every epoch, or some are missing."""
        if self.mixed:
            return "images are mixed with each other; set optim.mixup=0 and optim.cutmix=0 to cache"
        if self.augment is not None and self.views is None:
            return (
                "images are augmented anew every epoch; set model.image.augment=none, or a number of "
                "model.image.augment_views, to cache"
            )
        if any(is_missing(cell) for row in self.cells for cell in row):
            return "images are missing, so that batches of images differ in size, and with it the rounding"
        return None

    def identity(self, *, files: bool) -> Iterator[bytes]:
        """Yield paths as they are written or hashes of bytes and pixels.

        With `files`: what the files hold now, and all that decides their pixels: folder, preprocessing, augmentation.
        """
        cells = (cell for row in self.cells for cell in row)
        if not files:
            yield from cell_names(cells)
            return
        yield from cell_contents(cells, self.folder)
        folder = None if self.folder is None else str(self.folder.resolve())
        yield f"{folder} {self.per_row} {self.spec} {self.augment} {self.seed} {self.views} {self.ranges}".encode()
        if self.erasing:
            yield f"erasing {self.erasing}".encode()

    def files(self) -> Iterator[tuple[str, str]]:
        """Yield the image files of all rows."""
        return cell_files((cell for row in self.cells for cell in row), self.folder)

    def undecoded(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Return `present`, bool `(len(rows), columns)`."""
        present = [[not is_missing(cell) for cell in self.cells[row]] for row in rows]
        return {"present": np.array(present, dtype=bool).reshape(len(rows), self.per_row)}

    def decoded_shapes(self, rows: int) -> Mapping[str, tuple[tuple[int, ...], torch.dtype]]:
        """Return shape and dtype of `pixels`."""
        import torch

        return {"pixels": ((rows, self.per_row, 3, *self.spec.size), torch.uint8)}

    def batch(self, rows: np.ndarray, epoch: int | None = None) -> dict[str, np.ndarray]:
        """Return `pixels`, uint8 `(len(rows), columns, 3, height, width)`, and `present`, bool `(len(rows), columns)`.

        Args:
            rows: Row positions.
            epoch: The epoch of training, or `None` for the plain transform.

        Raises:
            ImageReadError: An image went missing or cannot be decoded.
        """
        present = self.undecoded(rows)["present"]
        pixels = np.zeros((*present.shape, 3, *self.spec.size), dtype=np.uint8)
        varied = epoch is not None and self.augment is not None
        variants = self.variant(rows, epoch)
        for i, place in np.argwhere(present).tolist():
            row = int(rows[i])
            pixels[i, place] = self._varied(row, place, int(variants[i])) if varied else self._plain(row, place)
        return {"pixels": pixels, "present": present}

    @contextmanager
    def kept(self, keep: Keep) -> Iterator[ImageRows]:
        """Yield the same rows, with their pixels kept until the context ends, as far as they fit."""
        with pixels_kept(self._sizes(), sum(map(len, self.cells)), keep) as cache:
            yield replace(self, cache=cache)

    def _sizes(self) -> Iterator[int]:
        plain = 3 * self.spec.size[0] * self.spec.size[1]
        for cell in (cell for row in self.cells for cell in row):
            if is_missing(cell):
                yield 0
            else:
                yield plain if self.augment is None else decoded_size(cell, self.folder)

    def _plain(self, row: int, place: int) -> np.ndarray:
        """Return the pixels that the backbone takes, from the cache where they are kept."""
        transform = plain_transform(self.spec)
        if self.cache is None or self.augment is not None:
            return transform(self._image(row, place))
        slot = row * self.per_row + place
        found = self.cache.get(slot)
        if found is None:
            found = transform(self._image(row, place))
            self.cache.put(slot, found)
        return found

    def _varied(self, row: int, place: int, variant: int) -> np.ndarray:
        """Return a variant of an image."""
        assert self.augment is not None
        image = self._image(row, place)
        own = None if self.transform is None else own_transform(self.spec, self.transform, self.erasing)
        with seeded(_mix(self.seed, variant, row, place), self.transform):
            if own is None:
                return train_transform(self.spec, self.augment, self.erasing)(image)
            try:
                return own(image)
            except Exception as error:
                raise DataError(
                    f"model.image.augment: the transform fails on the image in row {row}{self._column(place)} "
                    f"({image.width}×{image.height}; {type(error).__name__}: {first_line(error)}). Mend the transform, "
                    "or leave the row out."
                ) from error

    def _image(self, row: int, place: int) -> Image:
        """Return a decoded image; where whole images are kept, each is decoded once."""
        from PIL import Image as pil

        cell = self.cells[row][place]
        if self.cache is None or self.augment is None:
            return self._open(cell, row, place)
        slot = row * self.per_row + place
        found = self.cache.get(slot)
        if found is not None:
            return pil.fromarray(found)
        image = self._open(cell, row, place)
        self.cache.put(slot, np.asarray(image))
        return image

    def _column(self, place: int) -> str:
        return f" of column {self.names[place]!r}" if self.names else ""

    def _open(self, cell: object, row: int, place: int) -> Image:
        try:
            return open_image(cell, self.folder, self.ranges[place] if self.ranges else None)
        except (OSError, TypeError) as error:
            raise ImageReadError(
                f"The image in row {row}{self._column(place)} cannot be read: {cell_text(cell)} ({reason_of(error)}). "
                "Restore the file, drop the row, or set the cell to None where there is no image."
            ) from error


def _mix(*numbers: int) -> int:
    """Mix integers into one seed (SeedSequence is made for that)."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)
