"""Batches of images with masks for a segmenter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from thermocline.data.pixel_cache import Keep, PixelCache, pixels_kept
from thermocline.inputs.image.cell_identity import cell_contents, cell_files, cell_names
from thermocline.inputs.image.files import decoded_size
from thermocline.inputs.image.grey import Range
from thermocline.inputs.image.one_image_rows import OneImageRows
from thermocline.problems.semantic_segmentation.mask_transforms import augmented, plain, resized_mask
from thermocline.problems.semantic_segmentation.masks import Masks
from thermocline.problems.semantic_segmentation.segmenter_spec import SegmentationSpec
from thermocline.problems.semantic_segmentation.target import MaskTarget


@dataclass(frozen=True)
class SegmentationRows(OneImageRows):
    """Images and their masks, decoded when a batch is made.

    Attributes:
        cells: The image of each row: a path, bytes or a PIL image.
        index: The frame's index, for messages.
        folder: Where relative paths start.
        spec: The images that the segmenter takes.
        grey: The range of values of more than 8 bits, or None.
        masks: The masks of these rows; None at prediction.
        target: What their values stand for.
        augment: How strongly training images are augmented; None: not at all.
        seed: Augmentation is a function of (seed, epoch, row).
        cache: Whole decoded images that are kept.
    """

    cells: tuple[object, ...]
    index: pd.Index[Any]
    folder: Path | None
    spec: SegmentationSpec
    grey: Range | None = None
    masks: Masks | None = None
    target: MaskTarget | None = None
    augment: str | None = None
    seed: int = 0
    cache: PixelCache | None = field(default=None, compare=False, repr=False)

    def with_masks(self, masks: Masks, target: MaskTarget) -> SegmentationRows:
        """Return the same rows with their masks."""
        return replace(self, masks=masks, target=target)

    def with_augmentation(self, augment: str, seed: int) -> SegmentationRows:
        """Return the same rows, augmented in training; `none` leaves them."""
        return replace(self, augment=None if augment == "none" else augment, seed=seed)

    def identity(self, *, files: bool) -> Iterator[bytes]:
        """Yield images and masks by name, or with `files` by content with folder and preprocessing."""
        columns = [self.cells, () if self.masks is None else self.masks.cells]
        for cells in columns:
            if files:
                yield from cell_contents(cells, self.folder)
            else:
                yield from cell_names(cells)
        if files:
            folder = None if self.folder is None else str(self.folder.resolve())
            yield f"{folder} {self.spec} {self.grey} {self.augment} {self.seed}".encode()
        if self.masks is not None:
            yield repr(self.masks.palette).encode()

    def files(self) -> Iterator[tuple[str, str]]:
        """Yield the files of all images and masks."""
        yield from cell_files(self.cells, self.folder)
        if self.masks is not None:
            yield from cell_files(self.masks.cells, self.masks.folder)

    def unlabelled(self) -> SegmentationRows:
        """Return the same rows as at prediction."""
        return replace(self, masks=None, target=None, augment=None)

    def not_cacheable(self) -> str | None:
        """Return why outputs cannot be reused, or None."""
        if self.augmented:
            return "images and masks are augmented anew every epoch; model.segmenter.augment=none lets them repeat"
        return None

    @contextmanager
    def kept(self, keep: Keep) -> Iterator[SegmentationRows]:
        """Yield the same rows, with decoded images kept until the context ends, as far as they fit."""
        sizes = (decoded_size(cell, self.folder) for cell in self.cells)
        with pixels_kept(sizes, len(self.cells), keep) as cache:
            yield replace(self, cache=cache)

    def batch(self, rows: np.ndarray, epoch: int | None = None) -> dict[str, np.ndarray]:
        """Return the arrays of these rows.

        Args:
            rows: Row positions.
            epoch: The epoch of training, or None for images as they are.

        Returns:
            `pixels` uint8 `(rows, 3, height, width)` in the size of the input; `sizes` int64 `(rows, 2)`, height and
            width of the images as they are. With masks also `mask` int64 `(rows, height, width)`: positions of
            classes, -1 where there is none.

        Raises:
            ImageReadError: An image went missing or cannot be decoded.
            LabelError: A mask did.
        """
        height, width = self.spec.size
        pixels = np.empty((len(rows), 3, height, width), dtype=np.uint8)
        masks = np.empty((len(rows), height, width), dtype=np.int64)
        sizes = np.empty((len(rows), 2), dtype=np.int64)
        for place, row in enumerate(rows):
            image, mask, sizes[place] = self._row(int(row), epoch)
            pixels[place] = image.numpy()
            if mask is not None:
                masks[place] = mask.numpy()
        out: dict[str, np.ndarray] = {"pixels": pixels, "sizes": sizes}
        return out if self.masks is None else {**out, "mask": masks}

    def undecoded(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Return the arrays of `batch(rows)` but for the pixels of images."""
        if self.augmented or self.masks is None:
            return {}
        masks = [resized_mask(self._mask(int(row)), self.spec.size).numpy() for row in rows]
        return {"sizes": self.masks.sizes[rows], "mask": np.stack(masks)}

    def decoded_shapes(self, rows: int) -> Mapping[str, tuple[tuple[int, ...], torch.dtype]]:
        """Return shape and dtype of the pixels, where masks can be read without them."""
        if self.augmented or self.masks is None:
            return {}
        return {"pixels": ((rows, 3, *self.spec.size), torch.uint8)}

    def _row(self, row: int, epoch: int | None) -> tuple[torch.Tensor, torch.Tensor | None, tuple[int, int]]:
        """Return a row's image and mask in the size of the input, and the image's own height and width."""
        own = self._image(row)
        image, size = torch.from_numpy(own).permute(2, 0, 1), (own.shape[0], own.shape[1])
        mask = None if self.masks is None else self._mask(row)
        if epoch is None or self.augment is None or mask is None:
            return *plain(image, mask, self.spec), size
        seed = np.random.SeedSequence([self.seed, epoch, row]).generate_state(1, np.uint64)[0] >> 1
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(seed))
            return *augmented(image, mask, self.spec, self.augment), size

    def _mask(self, row: int) -> torch.Tensor:
        assert self.masks is not None
        assert self.target is not None
        return torch.from_numpy(self.target.encode(self.masks.open(row)))

    def truth(self, row: int) -> np.ndarray:
        """Return a row's mask in its own size, as positions of classes int64 `(height, width)`, -1 for none."""
        return self._mask(row).numpy()

    def _image(self, row: int) -> np.ndarray:
        """Return a row's image, uint8 `(height, width, 3)`; where images are kept, each is decoded once."""
        found = None if self.cache is None else self.cache.get(row)
        if found is not None:
            return found
        image = np.array(self.opened(row, self.grey), dtype=np.uint8)
        if self.cache is not None:
            self.cache.put(row, image)
        return image
