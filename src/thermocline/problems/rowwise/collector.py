"""Outputs of a model by row, collected over a pass and scored."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from thermocline.contracts.collecting import ArrayCollector
from thermocline.data.batches import Rows
from thermocline.problems.rowwise.metrics import score
from thermocline.problems.rowwise.objective import row_losses
from thermocline.problems.rowwise.target import RowTarget


class RowCollector(ArrayCollector):
    """Collects raw outputs `(rows, width)` and scores them against encoded labels.

    Args:
        model: What computes outputs of a batch.
        target: What encoded the labels.
        rows: The rows; scoring needs their encoded labels.
    """

    def __init__(self, model: Callable[[Mapping[str, Any]], torch.Tensor], target: RowTarget, rows: Rows) -> None:
        super().__init__(model, len(rows), width=target.width)
        self._target, self._rows = target, rows

    def scores(self, metrics: Sequence[str]) -> dict[str, float]:
        """Return metrics over the rows that were reached."""
        rows = np.flatnonzero(self.reached)
        if not len(rows):
            return dict.fromkeys(metrics, math.nan)
        weight = None if self._rows.weight is None else self._rows.weight[rows]
        return score(self._target, metrics, self._encoded[rows], self.values[rows], weight)

    def fallback_loss(self) -> float | None:
        """Return the mean loss over the rows reached."""
        rows = np.flatnonzero(self.reached)
        if not len(rows):
            return None
        outputs, encoded = torch.from_numpy(self.values[rows]), torch.from_numpy(self._encoded[rows])
        return float(row_losses(self._target.loss_name, outputs, encoded).mean())

    @property
    def _encoded(self) -> np.ndarray:
        assert self._rows.target is not None
        return self._rows.target
