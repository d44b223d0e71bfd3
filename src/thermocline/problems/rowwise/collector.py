"""Outputs of a model by row, collected over a pass and scored."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from thermocline.config import ResolvedConfig
from thermocline.contracts.collecting import ArrayCollector
from thermocline.data.batches import Rows
from thermocline.problems.rowwise.info import INFO
from thermocline.problems.rowwise.metrics import score
from thermocline.problems.rowwise.objective import row_losses
from thermocline.problems.rowwise.target import MIDDLE, RowTarget
from thermocline.problems.rowwise.threshold import best_threshold
from thermocline.registry import metric_of


class RowCollector(ArrayCollector):
    """Collects raw outputs `(rows, width)` and scores them against encoded labels.

    Args:
        model: What computes outputs of a batch.
        target: What encoded the labels.
        rows: The rows; scoring needs their encoded labels.
        tunes: Whether the threshold of two classes is looked for on these rows, for the target's metric.
    """

    def __init__(
        self,
        model: Callable[[Mapping[str, Any]], torch.Tensor],
        target: RowTarget,
        rows: Rows,
        *,
        tunes: bool = False,
    ) -> None:
        super().__init__(model, len(rows), width=target.width)
        self._target, self._rows, self._tunes = target, rows, tunes

    def scores(self, metrics: Sequence[Any]) -> dict[str, float]:
        """Return metrics over the rows that were reached, and `threshold` where it is looked for or not a half."""
        rows = np.flatnonzero(self.reached)
        if not len(rows):
            return {one if isinstance(one, str) else one.name: math.nan for one in metrics}
        weight = None if self._rows.weight is None else self._rows.weight[rows]
        encoded, outputs, target = self._encoded[rows], self.values[rows], self._target
        if self._tunes:
            target = replace(target, threshold=best_threshold(target, encoded, outputs, weight))
        values = score(target, metrics, encoded, outputs, weight)
        if self._tunes or target.threshold not in (None, MIDDLE):
            values["threshold"] = float(target.threshold or MIDDLE)
        return values

    def fallback_loss(self) -> float | None:
        """Return the mean loss over the rows reached."""
        rows = np.flatnonzero(self.reached)
        if not len(rows):
            return None
        outputs, encoded = torch.from_numpy(self.values[rows]), torch.from_numpy(self._encoded[rows])
        return float(row_losses(self._target.learnt, outputs, encoded).mean())

    @property
    def _encoded(self) -> np.ndarray:
        assert self._rows.target is not None
        return self._rows.target


def collector_of(
    model: Callable[[Mapping[str, Any]], torch.Tensor],
    target: RowTarget,
    rows: Rows,
    config: ResolvedConfig,
    *,
    scoring: bool,
) -> RowCollector:
    """Return what collects raw outputs; until a threshold is settled, with the one that is given, or looked for.

    Args:
        model: What computes outputs of a batch.
        target: What encoded the labels.
        rows: The rows.
        config: `optim.threshold` counts.
        scoring: Whether scores follow; else predictions.
    """
    if target.problem_type != "binary" or target.threshold is not None:
        return RowCollector(model, target, rows)
    given = config.optim.threshold
    if given == "auto":
        tunes = metric_of(INFO, target).tunes_threshold
        return RowCollector(model, target, rows, tunes=scoring and tunes)
    return RowCollector(model, replace(target, threshold=given), rows)
