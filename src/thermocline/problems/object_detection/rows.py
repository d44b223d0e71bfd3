"""Batches of images with boxes for a detector."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from thermocline.data.moving import on_host
from thermocline.data.pixel_cache import Keep, PixelCache, pixels_kept
from thermocline.inputs.image.cell_identity import cell_contents, cell_files, cell_names
from thermocline.inputs.image.files import decoded_size
from thermocline.inputs.image.joint_transforms import resized
from thermocline.inputs.image.one_image_rows import OneImageRows
from thermocline.problems.object_detection.box_spec import DetectionSpec, box_scale, to_shares
from thermocline.problems.object_detection.box_transforms import Scene, augmented
from thermocline.problems.object_detection.boxes import Boxes

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class _Resized:
    """One row's image in the size that the detector takes, with its boxes.

    Attributes:
        pixels: uint8 `(3, height, width)`.
        size: Height and width before it was resized.
        boxes: float32 `(boxes, 4)`, xyxy in pixels of `size`.
        labels: Class numbers, int64 `(boxes,)`.
    """

    pixels: np.ndarray
    size: tuple[int, int]
    boxes: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class DetectionRows(OneImageRows):
    """Images and their boxes, decoded when a batch is made.

    Attributes:
        cells: The image of each row: a path, bytes or a PIL image.
        index: The frame's index, for messages.
        folder: Where relative paths start.
        spec: The images that the detector takes.
        boxes: For each row its boxes, float32 `(boxes, 4)`, xyxy in the image's own pixels; None at prediction.
        labels: For each row the class number of each box, int64 `(boxes,)`; None at prediction.
        augment: How strongly training images are augmented, `light` or `standard`; None: not at all.
        seed: Augmentation is a function of (seed, epoch, row).
        own_sizes: Height and width of each image, int64 `(rows, 2)`, where boxes were checked against them.
        cache: Pixels that were decoded before: of the whole image where it is augmented, else as the detector takes
            them.
    """

    cells: tuple[object, ...]
    index: pd.Index[Any]
    folder: Path | None
    spec: DetectionSpec
    boxes: tuple[np.ndarray, ...] | None = None
    labels: tuple[np.ndarray, ...] | None = None
    augment: str | None = None
    seed: int = 0
    own_sizes: np.ndarray | None = None
    cache: PixelCache | None = field(default=None, compare=False, repr=False)

    @classmethod
    def of(cls, images: pd.Series[Any], folder: Path | None, spec: DetectionSpec) -> DetectionRows:
        """Collect the cells; nothing is decoded yet.

        Args:
            images: The image column.
            folder: Where relative paths start.
            spec: The images that the detector takes.
        """
        return cls(tuple(images.astype(object).tolist()), images.index, folder, spec)

    def with_boxes(self, boxes: Boxes, classes: Sequence[Any]) -> DetectionRows:
        """Return the same rows with their boxes; those around crowds are left out.

        Args:
            boxes: The checked boxes of these rows.
            classes: The classes in order.

        Raises:
            LabelError: A class that is none of `classes`.
        """
        encoded = boxes.encode(classes)
        own = tuple(edges[~crowd] for edges, crowd in zip(boxes.boxes, boxes.crowd, strict=True))
        codes = tuple(numbers[~crowd] for numbers, crowd in zip(encoded, boxes.crowd, strict=True))
        return replace(self, boxes=own, labels=codes, own_sizes=boxes.sizes)

    def with_augmentation(self, augment: str, seed: int) -> DetectionRows:
        """Return the same rows, augmented in training: `light`, `standard` or `none`."""
        return replace(self, augment=None if augment == "none" else augment, seed=seed)

    def identity(self, *, files: bool) -> Iterator[bytes]:
        """Yield the images by name, or with `files` by content with folder and preprocessing; then the boxes."""
        if files:
            yield from cell_contents(self.cells, self.folder)
            folder = None if self.folder is None else str(self.folder.resolve())
            yield f"{folder} {self.spec} {self.augment} {self.seed}".encode()
        else:
            yield from cell_names(self.cells)
        for boxes, labels in zip(self.boxes or (), self.labels or (), strict=True):
            yield len(labels).to_bytes(4, "little") + boxes.tobytes() + labels.tobytes()

    def files(self) -> Iterator[tuple[str, str]]:
        """Yield the image files of all rows."""
        return cell_files(self.cells, self.folder)

    def unlabelled(self) -> DetectionRows:
        """Return the same rows as at prediction."""
        return replace(self, boxes=None, labels=None)

    def not_cacheable(self) -> str | None:
        """Return why outputs cannot be reused, or None."""
        if self.augmented:
            return "images and boxes are augmented anew every epoch; model.detector.augment=none lets them repeat"
        if not self.spec.one_size:
            return "images keep their shapes, so that batches differ in size, and with it the rounding"
        return None

    @contextmanager
    def kept(self, keep: Keep) -> Iterator[DetectionRows]:
        """Yield the same rows, with decoded pixels kept until the context ends, as far as they fit."""
        with pixels_kept(self._sizes(), len(self.cells), keep) as cache:
            yield replace(self, cache=cache)

    def _sizes(self) -> Iterator[int]:
        """Yield the bytes of pixels that are kept of each row."""
        for row, cell in enumerate(self.cells):
            if not self._keeps_resized:
                yield decoded_size(cell, self.folder)
            else:
                height, width = self.spec.inner(*self._own_size(row))
                yield 3 * height * width

    def batch(self, rows: np.ndarray, epoch: int | None = None) -> dict[str, np.ndarray]:
        """Return the arrays of these rows.

        Args:
            rows: Row positions.
            epoch: The epoch of training, or None for images as they are.

        Returns:
            `pixels` uint8 `(rows, 3, height, width)`; `mask` int64 `(rows, height, width)`, 1 where there is image and
            0 where there is padding; `sizes` int64 `(rows, 2)`, height and width of the image as it is (with an epoch
            of the augmented one); `scale` float32 `(rows, 2)`, the width and height in its own pixels that the share 1
            of a box means. With boxes also `counts` int64 `(rows,)`, how many each row has, and one row after the
            other `labels` int64 `(boxes,)` and `boxes` float32 `(boxes, 4)`: centre, width and height as shares.

        Raises:
            ImageReadError: An image went missing or cannot be decoded.
        """
        images = [self._resized(int(row), epoch) for row in rows]
        sizes, inner = _pairs(one.size for one in images), _pairs(one.pixels.shape[-2:] for one in images)
        pixels = np.empty((len(images), 3, *self.spec.outer(inner)), dtype=np.uint8)
        pixels[:] = np.array(self.spec.fill, dtype=np.uint8)[:, None, None]
        for i, (one, (height, width)) in enumerate(zip(images, inner, strict=True)):
            pixels[i, :, :height, :width] = one.pixels
        return {"pixels": pixels, **self._all_but_pixels(sizes, inner, [(one.boxes, one.labels) for one in images])}

    def undecoded(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Return the arrays of `batch(rows)` but for the pixels, which alone come from decoding."""
        if not self._has_all_sizes:
            return {}
        sizes = _pairs(self._own_size(int(row)) for row in rows)
        inner = _pairs(self.spec.inner(int(height), int(width)) for height, width in sizes)
        return self._all_but_pixels(sizes, inner, [self._boxes_of(int(row)) for row in rows])

    def decoded_shapes(self, rows: int) -> Mapping[str, tuple[tuple[int, ...], torch.dtype]]:
        """Return shape and dtype of the pixels, where they are the same for every batch."""
        if not self._has_all_sizes:
            return {}
        return {"pixels": ((rows, 3, *self.spec.outer(_pairs([self.spec.inner(*self._own_size(0))]))), torch.uint8)}

    @property
    def _has_all_sizes(self) -> bool:
        """Whether all but the pixels can be made without an image, in one shape for every batch."""
        return not self.augmented and self.spec.one_size and self.own_sizes is not None and len(self) > 0

    def _own_size(self, row: int) -> tuple[int, int]:
        """Return height and width of a row's image, which were read when boxes were checked."""
        assert self.own_sizes is not None
        height, width = (int(side) for side in self.own_sizes[row])
        return height, width

    def _all_but_pixels(
        self, sizes: np.ndarray, inner: np.ndarray, boxes: Sequence[tuple[np.ndarray, np.ndarray]]
    ) -> dict[str, np.ndarray]:
        """Return the other arrays of a batch.

        Args:
            sizes: Height and width of the images as they are, int64 `(rows, 2)`.
            inner: Height and width that they are resized to, int64 `(rows, 2)`.
            boxes: For each row its boxes, xyxy in pixels of `sizes`, and their class numbers.
        """
        outer = self.spec.outer(inner)
        scale = box_scale(self.spec, sizes, inner, outer)
        out = {"mask": _mask(inner, outer), "sizes": sizes, "scale": scale}
        if self.boxes is None:
            return out
        return {
            **out,
            "counts": np.array([len(labels) for _, labels in boxes], dtype=np.int64),
            "labels": np.concatenate([labels for _, labels in boxes]),
            "boxes": np.concatenate([to_shares(own, unit) for (own, _), unit in zip(boxes, scale, strict=True)]),
        }

    def _boxes_of(self, row: int) -> tuple[np.ndarray, np.ndarray]:
        boxes = np.zeros((0, 4), dtype=np.float32) if self.boxes is None else self.boxes[row]
        return boxes, np.zeros(0, dtype=np.int64) if self.labels is None else self.labels[row]

    def _resized(self, row: int, epoch: int | None) -> _Resized:
        """Return a row's image with its boxes, augmented where this is an epoch of training."""
        if epoch is None or self.augment is None:
            return _Resized(*self._plain(row), *self._boxes_of(row))
        scene = Scene.of(self._image(row), *self._boxes_of(row))
        seed = np.random.SeedSequence([self.seed, epoch, row]).generate_state(1, np.uint64)[0] >> 1
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(seed))
            scene, factor = augmented(scene, self.spec, self.augment)
        pixels = resized(scene.pixels, self.spec.inner(*scene.size, jitter=factor), self.spec.interpolation)
        return _Resized(pixels.numpy(), scene.size, scene.boxes.numpy(), scene.labels.numpy())

    def _plain(self, row: int) -> tuple[np.ndarray, tuple[int, int]]:
        """Return a row's resized pixels, from the cache where they are kept, and the image's own height and width."""
        kept = self.cache.get(row) if self._keeps_resized and self.cache is not None else None
        if kept is not None:
            return kept, self._own_size(row)
        scene = Scene.of(self._image(row), *self._boxes_of(row))
        pixels = resized(scene.pixels, self.spec.inner(*scene.size), self.spec.interpolation).numpy()
        if self._keeps_resized and self.cache is not None:
            self.cache.put(row, pixels)
        return pixels, scene.size

    @property
    def _keeps_resized(self) -> bool:
        """Whether the cache keeps pixels as the detector takes them, and not whole images."""
        return not self.augmented and self.own_sizes is not None

    def _image(self, row: int) -> Image:
        """Return a row's decoded image; where whole images are kept, each is decoded once."""
        from PIL import Image as pil

        if self.cache is None or self._keeps_resized:
            return self.opened(row, self.spec.grey)
        found = self.cache.get(row)
        if found is not None:
            return pil.fromarray(found)
        image = self.opened(row, self.spec.grey)
        self.cache.put(row, np.asarray(image))
        return image


def _pairs(sizes: Iterable[Sequence[int]]) -> np.ndarray:
    """Return heights and widths as int64 `(rows, 2)`."""
    return np.array([tuple(one) for one in sizes], dtype=np.int64).reshape(-1, 2)


def _mask(inner: np.ndarray, outer: tuple[int, int]) -> np.ndarray:
    """Return int64 `(rows, height, width)`: 1 where there is image, each in the upper left, and 0 where padding."""
    mask = np.zeros((len(inner), *outer), dtype=np.int64)
    for i, (height, width) in enumerate(inner):
        mask[i, :height, :width] = 1
    return mask


def targets(batch: Mapping[str, torch.Tensor]) -> list[dict[str, torch.Tensor]]:
    """Return a batch's boxes as transformers' detectors take them: for each row `class_labels` and `boxes`.

    Args:
        batch: `counts`, `labels` and `boxes` of `DetectionRows.batch`, as tensors.
    """
    counts = on_host(batch, "counts").tolist()
    pairs = zip(torch.split(batch["labels"], counts), torch.split(batch["boxes"], counts), strict=True)
    return [{"class_labels": labels, "boxes": boxes} for labels, boxes in pairs]
