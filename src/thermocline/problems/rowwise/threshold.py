"""The threshold between two classes that a metric is best at."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from thermocline.problems.rowwise.metrics import score
from thermocline.problems.rowwise.target import MIDDLE, RowTarget

MOST_TRIED = 200
LEAST_GAIN = 1e-9
"""A smaller difference of two scores is one of rounding."""


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
    if not np.isfinite(logits).all():
        return MIDDLE
    truth = np.asarray(encoded) == target.positive_code
    chance = target.activate(logits)[:, target.positive_code]
    weight = np.ones(len(truth)) if weight is None else np.asarray(weight, dtype=np.float64)
    best, best_score = MIDDLE, _score(target, truth, chance > MIDDLE, weight)
    for threshold in sorted(_candidates(truth, chance), key=lambda one: abs(one - MIDDLE)):
        value = _score(target, truth, chance > threshold, weight)
        if value > best_score + LEAST_GAIN:
            best, best_score = threshold, value
    return best


def _candidates(truth: np.ndarray, chance: np.ndarray) -> list[float]:
    """Return what lies between a positive row and a negative one below it, and both ends: one of these is the best."""
    values, place = np.unique(chance, return_inverse=True)
    positive, negative = np.bincount(place[truth], minlength=len(values)), np.bincount(place[~truth])
    negative = np.pad(negative, (0, len(values) - len(negative)))
    below = np.flatnonzero((negative[:-1] > 0) & (positive[1:] > 0))
    if len(below) > MOST_TRIED:
        below = below[np.linspace(0, len(below) - 1, MOST_TRIED).round().astype(np.int64)]
    ends = [values[0] / 2, (values[-1] + 1) / 2]
    return [float(one) for one in [*ends, *(values[below] + values[below + 1]) / 2] if 0.0 < one < 1.0]


def _score(target: RowTarget, truth: np.ndarray, called: np.ndarray, weight: np.ndarray) -> float:
    """Return the metric, or minus infinity where it is not defined."""
    cell = 2 * truth + called
    counts = np.bincount(cell, weights=weight, minlength=4)
    there = np.flatnonzero(counts > 0)
    yes = target.positive_code
    encoded = np.where(there >= 2, yes, 1 - yes)
    outputs = np.zeros((len(there), 2))
    outputs[:, yes] = np.where(there % 2 == 1, 1.0, -1.0)
    half = replace(target, threshold=MIDDLE)
    value = score(half, target.eval_metric, encoded, outputs, counts[there])[target.eval_metric]
    return value if np.isfinite(value) else -np.inf
