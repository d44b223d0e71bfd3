"""Images with boxes as batches for a detector, and a detector's outputs as predictions."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from thermocline.data.row_names import first_rows
from thermocline.errors import ImageReadError
from thermocline.inputs.image.files import is_missing, open_image
from thermocline.problems.object_detection.box_spec import DetectionSpec, box_scale, to_pixels, to_shares
from thermocline.problems.object_detection.box_transforms import Scene, resized, varied
from thermocline.problems.object_detection.boxes import Boxes

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class DetectionRows:
    """Images and their boxes, decoded when a batch is made.

    Attributes:
        cells: The image of each row: a path, bytes or a PIL image.
        index: The frame's index, for messages.
        folder: Where relative paths start.
        spec: What the detector wants.
        boxes: For each row its boxes, float32 `(boxes, 4)`, xyxy in the image's own pixels; None at prediction.
        labels: For each row the class number of each box, int64 `(boxes,)`; None at prediction.
        augment: How strongly training images are varied, `light` or `standard`; None: not at all.
        seed: Augmentation is a function of (seed, epoch, row).
    """

    cells: tuple[object, ...]
    index: pd.Index[Any]
    folder: Path | None
    spec: DetectionSpec
    boxes: tuple[np.ndarray, ...] | None = None
    labels: tuple[np.ndarray, ...] | None = None
    augment: str | None = None
    seed: int = 0

    @classmethod
    def of(
        cls,
        images: pd.Series[Any],
        folder: Path | None,
        spec: DetectionSpec,
        *,
        boxes: Boxes | None = None,
        classes: Sequence[Any] = (),
        augment: str | None = None,
        seed: int = 0,
        what: str = "the data",
    ) -> DetectionRows:
        """Collect the cells and the boxes; nothing is decoded yet. Boxes around crowds are left out.

        Args:
            images: The image column.
            folder: Where relative paths start.
            spec: What the detector wants.
            boxes: The checked boxes of these rows, or None at prediction.
            classes: The classes in order.
            augment: `light`, `standard`, or `none`.
            seed: The run's seed.
            what: The name of the frame, for messages.

        Raises:
            LabelError: A class that is none of `classes`.
        """
        own, codes = None, None
        if boxes is not None:
            encoded = boxes.encode(classes, what=what)
            own = tuple(edges[~crowd] for edges, crowd in zip(boxes.boxes, boxes.crowd, strict=True))
            codes = tuple(numbers[~crowd] for numbers, crowd in zip(encoded, boxes.crowd, strict=True))
        cells = tuple(images.astype(object).tolist())
        return cls(cells, images.index, folder, spec, own, codes, None if augment == "none" else augment, seed)

    def __len__(self) -> int:
        return len(self.cells)

    def pieces(self) -> Iterator[bytes]:
        """Yield what tells the rows apart, for a fingerprint: paths as they are written, else the bits themselves."""
        for cell in self.cells:
            if isinstance(cell, bytes | bytearray | memoryview):
                yield hashlib.sha256(cell).digest()
            elif hasattr(cell, "tobytes"):
                yield hashlib.sha256(cell.tobytes()).digest()
            else:
                yield f"{cell}\n".encode()
        for boxes, labels in zip(self.boxes or (), self.labels or (), strict=True):
            yield len(labels).to_bytes(4, "little") + boxes.tobytes() + labels.tobytes()

    def batch(self, rows: np.ndarray, epoch: int | None = None) -> dict[str, np.ndarray]:
        """Return the arrays of these rows.

        Args:
            rows: Row positions.
            epoch: The epoch of training, or None for images as they are.

        Returns:
            `pixels` uint8 `(rows, 3, height, width)`; `mask` int64 `(rows, height, width)`, 1 where there is image and
            0 where there is padding; `sizes` int64 `(rows, 2)`, height and width of the image as it is (of the varied
            one, with an epoch); `scale` float32 `(rows, 2)`, the width and height in its own pixels that the share 1
            of a box stands for. With boxes also `counts` int64 `(rows,)`, how many each row has, and one row after the
            other `labels` int64 `(boxes,)` and `boxes` float32 `(boxes, 4)`: centre, width and height as shares.

        Raises:
            ImageReadError: An image went missing or cannot be decoded.
        """
        scenes, inner = [], np.zeros((len(rows), 2), dtype=np.int64)
        sizes = np.zeros((len(rows), 2), dtype=np.int64)
        for i, row in enumerate(rows):
            scene, jitter = self._scene(int(row), epoch)
            sizes[i], inner[i] = scene.size, self.spec.inner(*scene.size, jitter=jitter)
            pixels = resized(scene.pixels, (int(inner[i, 0]), int(inner[i, 1])), self.spec.interpolation)
            scenes.append(Scene(pixels, scene.boxes, scene.labels))
        outer = self.spec.outer(inner)
        scale = box_scale(self.spec, sizes, inner, outer)
        batch = {**self._laid_out(scenes, inner, outer), "sizes": sizes, "scale": scale}
        if self.boxes is not None:
            shares = [to_shares(scene.boxes.numpy(), unit) for scene, unit in zip(scenes, scale, strict=True)]
            batch["counts"] = np.array([len(scene.labels) for scene in scenes], dtype=np.int64)
            batch["labels"] = np.concatenate([scene.labels.numpy() for scene in scenes])
            batch["boxes"] = np.concatenate(shares)
        return batch

    def _laid_out(self, scenes: list[Scene], inner: np.ndarray, outer: tuple[int, int]) -> dict[str, np.ndarray]:
        """Return `pixels` and `mask`: each image in the upper left of its canvas."""
        pixels = np.empty((len(scenes), 3, *outer), dtype=np.uint8)
        pixels[:] = np.array(self.spec.fill, dtype=np.uint8)[:, None, None]
        mask = np.zeros((len(scenes), *outer), dtype=np.int64)
        for i, (scene, (height, width)) in enumerate(zip(scenes, inner, strict=True)):
            pixels[i, :, :height, :width] = scene.pixels.numpy()
            mask[i, :height, :width] = 1
        return {"pixels": pixels, "mask": mask}

    def _scene(self, row: int, epoch: int | None) -> tuple[Scene, float]:
        """Return a row's image and boxes, varied for an epoch, and a factor on its size."""
        boxes = np.zeros((0, 4), dtype=np.float32) if self.boxes is None else self.boxes[row]
        labels = np.zeros(0, dtype=np.int64) if self.labels is None else self.labels[row]
        scene = Scene.of(self._open(row), boxes, labels)
        if epoch is None or self.augment is None:
            return scene, 1.0
        seed = np.random.SeedSequence([self.seed, epoch, row]).generate_state(1, np.uint64)[0] >> 1
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(seed))
            return varied(scene, self.spec, self.augment)

    def _open(self, row: int) -> Image:
        cell = self.cells[row]
        try:
            if is_missing(cell):
                raise OSError("the cell is empty")
            return open_image(cell, self.folder)
        except (OSError, TypeError) as error:
            shown = cell if isinstance(cell, str | Path) else type(cell).__name__
            named = first_rows(self.index, np.arange(len(self)) == row)
            raise ImageReadError(
                f"The image in {named} cannot be read: {shown} ({error}). Restore the file, or drop the row."
            ) from error


def targets(batch: Mapping[str, torch.Tensor]) -> list[dict[str, torch.Tensor]]:
    """Return a batch's boxes as transformers' detectors take them: for each row `class_labels` and `boxes`.

    Args:
        batch: `counts`, `labels` and `boxes` of `DetectionRows.batch`, as tensors.
    """
    counts = batch["counts"].tolist()
    pairs = zip(torch.split(batch["labels"], counts), torch.split(batch["boxes"], counts), strict=True)
    return [{"class_labels": labels, "boxes": boxes} for labels, boxes in pairs]


def predictions(
    classes: Sequence[Any],
    codes: np.ndarray,
    scores: np.ndarray,
    boxes: np.ndarray,
    *,
    scale: np.ndarray,
    size: np.ndarray,
) -> list[dict[str, Any]]:
    """Return what a detector found in one image as `{label, score, box}`, best first.

    Args:
        classes: The classes in order.
        codes: Class numbers int64 `(found,)`.
        scores: In 0..1, `(found,)`.
        boxes: Shares: centre, width and height, `(found, 4)`.
        scale: The row's `scale` in the batch, `(2,)`.
        size: The row's `sizes` in the batch, `(2,)`; boxes are cut to the image, and those of no area left out.
    """
    edges = to_pixels(boxes, scale, size)
    order = np.argsort(-np.asarray(scores, dtype=np.float64), kind="stable")
    kept = [i for i in order if edges[i, 2] > edges[i, 0] and edges[i, 3] > edges[i, 1]]
    return [
        {"label": classes[int(codes[i])], "score": float(scores[i]), "box": [float(edge) for edge in edges[i]]}
        for i in kept
    ]
