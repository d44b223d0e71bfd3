"""The threshold between two classes that a metric is best at.

The best one on the labels of few rows is mostly chance: with 60 rows a handful of positives decide. So each row counts
as partly what it is and partly what its calibrated probability says (Platt 1999), the more the fewer rows there are.
With probabilities alone this is the maximum of the expected metric (Ye et al., ICML 2012).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from thermocline.problems.rowwise.calibration_gain import effective_count
from thermocline.problems.rowwise.metrics import score
from thermocline.problems.rowwise.target import MIDDLE, RowTarget

MOST_TRIED = 64
LEAST_GAIN = 1e-9
"""A smaller difference of two scores is one of rounding."""
PRIOR_ROWS = 500
"""Of so many rows, labels and calibrated probabilities count alike."""
SPREADS = np.array([0.5, 1.0])
"""Standard deviations of the prior of the calibration: the slope's around 1, and the offset's around 0."""
LEAST_WEIGHT = 1e-9
"""Of all weights: less is one of rounding."""


def best_threshold(target: RowTarget, encoded: np.ndarray, logits: np.ndarray, weight: np.ndarray | None) -> float:
    """Return the probability above which rows are best called positive, by the target's metric.

    It lies midway between the probabilities of two rows. A half is kept unless another is better, and among equals the
    one next to a half is taken. Rows count by what is right and wrong about them alone, so each threshold is scored by
    four rows with weights: right and wrong ones of both classes.

    Args:
        target: Two classes, and the metric, of which more is better.
        encoded: Class numbers `(rows,)`.
        logits: Outputs `(rows, 2)`.
        weight: Row weights, or None.
    """
    if not len(logits) or not np.isfinite(logits).all():
        return MIDDLE
    yes = target.positive_code
    truth = (np.asarray(encoded) == yes).astype(np.float64)
    weight = np.ones(len(truth)) if weight is None else np.asarray(weight, dtype=np.float64)
    rows = effective_count(weight, len(truth))
    if rows:
        margin = np.asarray(logits[:, yes], dtype=np.float64) - logits[:, 1 - yes]
        chances = _chances(margin, truth, weight * rows / weight.sum())
        truth = (rows * truth + PRIOR_ROWS * chances) / (rows + PRIOR_ROWS)
    called = target.activate(logits)[:, yes]
    order = np.argsort(called, kind="stable")
    called, positive, negative = called[order], (weight * truth)[order], (weight * (1 - truth))[order]
    below = [np.concatenate([[0.0], np.cumsum(one)]) for one in (negative, positive)]

    def scored(threshold: float) -> float:
        first = int(np.searchsorted(called, threshold, side="right"))
        not_called = [float(one[first]) for one in below]
        return _score(target, [*not_called, *(one[-1] - less for one, less in zip(below, not_called, strict=True))])

    best, best_score = MIDDLE, scored(MIDDLE)
    for threshold in sorted(_candidates(called, positive, negative), key=lambda one: abs(one - MIDDLE)):
        value = scored(threshold)
        if value > best_score + LEAST_GAIN:
            best, best_score = threshold, value
    return best


def _chances(margin: np.ndarray, truth: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return the chance of each row to be positive, by a logistic regression of the truth on the margin of outputs."""
    from scipy.optimize import minimize
    from scipy.special import expit

    inputs, centre = np.stack([margin, np.ones(len(margin))], axis=1), np.array([1.0, 0.0])

    def loss(values: np.ndarray) -> tuple[float, np.ndarray]:
        outputs, off = inputs @ values, (values - centre) / SPREADS
        value = weight @ (np.logaddexp(0.0, outputs) - truth * outputs) + off @ off / 2
        return float(value), inputs.T @ (weight * (expit(outputs) - truth)) + off / SPREADS

    return np.asarray(expit(inputs @ minimize(loss, centre, jac=True, method="BFGS").x))


def _candidates(chance: np.ndarray, positive: np.ndarray, negative: np.ndarray) -> list[float]:
    """Return what lies between two rows next to each other, and both ends; of many rows, evenly by both classes.

    Args:
        chance: Sorted.
        positive: How much of each row is positive.
        negative: How much is not.
    """
    apart = np.flatnonzero(chance[:-1] < chance[1:])
    if len(apart) > MOST_TRIED:
        place = sum(np.cumsum(one) / max(one.sum(), LEAST_GAIN) for one in (positive, negative))[apart]
        apart = apart[np.unique(np.searchsorted(place, np.linspace(place[0], place[-1], MOST_TRIED)))]
    ends = [chance[0] / 2, (chance[-1] + 1) / 2]
    return [float(one) for one in [*ends, *(chance[apart] + chance[apart + 1]) / 2] if 0.0 < one < 1.0]


def _score(target: RowTarget, sums: list[float]) -> float:
    """Return the metric, or minus infinity where it is not defined.

    Args:
        target: The metric.
        sums: Weights of rows that are negative and positive, of those not called positive, then of those called so.
    """
    weight = np.array(sums)
    there = np.flatnonzero(weight > LEAST_WEIGHT * weight.sum())
    yes = target.positive_code
    encoded = np.where(there % 2 == 1, yes, 1 - yes)
    outputs = np.zeros((len(there), 2))
    outputs[:, yes] = np.where(there >= 2, 1.0, -1.0)
    half = replace(target, threshold=MIDDLE)
    value = score(half, target.eval_metric, encoded, outputs, weight[there])[target.eval_metric]
    return value if np.isfinite(value) else -np.inf
