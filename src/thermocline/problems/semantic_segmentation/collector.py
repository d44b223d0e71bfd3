"""Masks that a segmenter finds, collected over a pass, and scored by a confusion matrix of pixels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from thermocline.problems.semantic_segmentation.metrics import confusion, scores_of
from thermocline.problems.semantic_segmentation.model import SegmentationModel, resized_logits
from thermocline.problems.semantic_segmentation.segmenter_layers import TOWER
from thermocline.problems.semantic_segmentation.target import MaskTarget


def found_masks(model: SegmentationModel, batch: Mapping[str, Any]) -> list[np.ndarray]:
    """Return for each image of a batch the position of the class of every pixel, int64 at the image's own size."""
    logits = model(batch)
    sizes = batch[TOWER]["sizes"].tolist()
    return [_found(one, (int(height), int(width))) for one, (height, width) in zip(logits, sizes, strict=True)]


def _found(logits: torch.Tensor, size: tuple[int, int]) -> np.ndarray:
    found: np.ndarray = resized_logits(logits[None], size)[0].argmax(dim=0).cpu().numpy()
    return found


class ConfusionCollector:
    """Counts the pixels of each true class that are given each class; memory does not grow with the rows.

    Args:
        model: The model.
        target: The classes.
        truth: Row → its mask in its own size, as positions of classes.
    """

    def __init__(self, model: SegmentationModel, target: MaskTarget, truth: Callable[[int], np.ndarray]) -> None:
        self._model, self._target, self._truth = model, target, truth
        self._counts = np.zeros((len(target.classes),) * 2, dtype=np.int64)
        self._finite = True

    def compute(self, batch: Mapping[str, Any]) -> list[np.ndarray]:
        """Return the masks found in a batch."""
        return found_masks(self._model, batch)

    def add(self, positions: np.ndarray, values: Sequence[np.ndarray]) -> None:
        """Count the pixels of a batch."""
        for row, found in zip(positions.tolist(), values, strict=True):
            self._counts += confusion(self._truth(row), found, len(self._target.classes))

    def outputs(self) -> np.ndarray:
        """Return how many pixels of each true class were given each class, int64 `(classes, classes)`."""
        return self._counts

    def scores(self, metrics: Sequence[str]) -> dict[str, float]:
        """Return scores over the images that were reached."""
        return scores_of(self._counts, metrics, self._target.classes)

    def fallback_loss(self) -> float | None:
        """No loss decides in place of the metric."""
        return None


class MaskCollector:
    """Collects masks, in the numbers that training masks hold, or hands each on as soon as it is found.

    Args:
        model: The model.
        target: The classes.
        rows: Number of images.
        hand_on: Takes the row and its mask, and returns what stands in its place; None: masks are kept.
    """

    def __init__(
        self,
        model: SegmentationModel,
        target: MaskTarget,
        rows: int,
        hand_on: Callable[[int, np.ndarray], Any] | None = None,
    ) -> None:
        self._model, self._target, self._hand_on = model, target, hand_on
        self._found: list[Any] = [None] * rows

    def compute(self, batch: Mapping[str, Any]) -> list[np.ndarray]:
        """Return the masks found in a batch."""
        return found_masks(self._model, batch)

    def add(self, positions: np.ndarray, values: Sequence[np.ndarray]) -> None:
        """Keep the masks of a batch, or hand them on."""
        for row, found in zip(positions.tolist(), values, strict=True):
            mask = self._target.decode(found)
            self._found[row] = mask if self._hand_on is None else self._hand_on(row, mask)

    def outputs(self) -> list[Any]:
        """Return the mask of each image, uint8 or uint16 `(height, width)`, or what stands in its place."""
        return self._found

    def scores(self, metrics: Sequence[str]) -> dict[str, float]:
        """Nothing is scored."""
        del metrics
        return {}

    def fallback_loss(self) -> float | None:
        """Nothing is scored."""
        return None
