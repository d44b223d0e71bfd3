"""Boxes that a detector finds, collected over a pass and scored by COCO's average precision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from thermocline.problems.object_detection.metrics import coco_scores
from thermocline.problems.object_detection.model import DetectionModel

MOST_BOXES = 100
"""Boxes an image that are scored, as COCO does."""

PER_CLASS = "per_class"
"""Asked for among metrics: `map` and `map_50` of each class."""

Found = list[dict[str, Any]]


class BoxCollector:
    """Collects the boxes found in images.

    Args:
        model: The model.
        classes: All classes.
        rows: Number of images.
        truths: For each image its true boxes, those around crowds among them; None where nothing is scored.
        least_score: Boxes of a lower score are left out.
        most: Most boxes an image.
    """

    def __init__(
        self,
        model: DetectionModel,
        classes: Sequence[Any],
        rows: int,
        *,
        truths: Sequence[Sequence[Mapping[str, Any]]] | None = None,
        least_score: float = 0.0,
        most: int = MOST_BOXES,
    ) -> None:
        self._model, self._classes, self._rows, self._truths = model, classes, rows, truths
        self._least_score, self._most = least_score, most
        self._found: dict[int, Found] = {}

    def compute(self, batch: Mapping[str, Any]) -> list[Found]:
        """Return the boxes found in each image of a batch."""
        return self._model.find(batch, threshold=self._least_score, most=self._most)

    def add(self, positions: np.ndarray, values: list[Found]) -> None:
        """Keep the boxes of a batch."""
        self._found.update(zip(positions.tolist(), values, strict=True))

    def outputs(self) -> list[Found]:
        """Return for each image the boxes found in it, highest score first."""
        return [self._found.get(row, []) for row in range(self._rows)]

    def scores(self, metrics: Sequence[str]) -> dict[str, float]:
        """Return COCO's scores over the images that were reached.

        Boxes that are not finite numbers, as of a run that diverged, count as not found.
        """
        assert self._truths is not None
        rows = sorted(self._found)
        finite = [[box for box in self._found[row] if np.isfinite([box["score"], *box["box"]]).all()] for row in rows]
        scores = coco_scores([self._truths[row] for row in rows], finite, self._classes)
        out: dict[str, float] = {}
        for name in metrics:
            if name == PER_CLASS:
                for label, values in scores["per_class"].items():
                    out |= {f"map/{label}": values["ap"], f"map_50/{label}": values["ap_50"]}
            else:
                out[name] = scores[name]
        return out

    def fallback_loss(self) -> float | None:
        """No loss decides in place of the metric."""
        return None
