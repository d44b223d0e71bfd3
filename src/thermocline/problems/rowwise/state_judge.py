"""What decides between states of a model whose scores on few validation rows differ by chance: the loss."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from thermocline.contracts.learning import Judged
from thermocline.data.batches import Rows
from thermocline.problems.rowwise.calibration import CALIBRATED, temperature
from thermocline.problems.rowwise.info import INFO
from thermocline.problems.rowwise.metrics import score
from thermocline.problems.rowwise.objective import row_losses
from thermocline.problems.rowwise.target import RowTarget
from thermocline.problems.rowwise.threshold import best_threshold
from thermocline.registry import metric_of

PARTS = 16  # of the rows, of which one at a time is left out


@dataclass(frozen=True)
class StateJudge:
    """Judges outputs on validation rows.

    Attributes:
        target: What the label asks for, and the metric.
        calibrated: Whether probabilities get a temperature in the end, so that their loss is the one with it.
    """

    target: RowTarget
    calibrated: bool

    def __call__(self, outputs: np.ndarray, rows: Rows) -> Judged:
        """Return the loss of outputs float32 `(rows, width)`, and their scores; rows that are NaN are left out."""
        assert rows.target is not None
        count = min(PARTS, len(outputs))
        there = np.flatnonzero(np.isfinite(outputs).all(axis=1))
        outputs, encoded = outputs[there], rows.target[there]
        weight = None if rows.weight is None else rows.weight[there]
        fit_weight = None if rows.fit_weight is None else rows.fit_weight[there]
        target = self._settled(outputs, encoded, weight, fit_weight)
        metric = metric_of(INFO, target)
        sign, parts = 1.0 if metric.greater_is_better else -1.0, []
        for part in range(count):
            kept = np.arange(len(there)) % count != part
            of_kept = None if weight is None else weight[kept]
            parts.append(
                sign * score(target, target.eval_metric, encoded[kept], outputs[kept], of_kept)[target.eval_metric]
            )
        return Judged(_loss(target, encoded, outputs, fit_weight), np.array(parts))

    def _settled(
        self, outputs: np.ndarray, encoded: np.ndarray, weight: np.ndarray | None, fit_weight: np.ndarray | None
    ) -> RowTarget:
        """Return the target with the temperature and the threshold that these outputs would get."""
        target = self.target
        if not len(outputs):
            return target
        if self.calibrated and target.problem_type in CALIBRATED:
            target = replace(target, temperature=temperature(target, outputs, encoded, fit_weight))
        tuned = metric_of(INFO, target).tunes_threshold
        if target.problem_type == "binary" and target.threshold is None and tuned:
            target = replace(target, threshold=best_threshold(target, encoded, outputs, weight))
        return target


def _loss(target: RowTarget, encoded: np.ndarray, outputs: np.ndarray, weight: np.ndarray | None) -> float:
    """Return the log-loss, the squared error in the label's units, or another loss of numbers on its own scale."""
    if target.problem_type == "regression" and target.loss is not None and len(outputs):
        losses = row_losses(target.loss, torch.from_numpy(outputs), torch.from_numpy(encoded))
        return float(np.average(losses.double().numpy(), weights=weight))
    loss = "mse" if target.problem_type == "regression" else "log_loss"
    return score(target, loss, encoded, outputs, weight)[loss]
