"""A ridge regression, which gives means, moved to what another loss asks for: a median, a quantile, or several."""

from __future__ import annotations

import numpy as np

from thermocline.problems.rowwise.quantiles import weighted_quantile
from thermocline.problems.rowwise.target import RowTarget

MEDIAN = ("mae", "huber")


def for_loss(
    target: RowTarget,
    features: np.ndarray,
    encoded: np.ndarray,
    found: tuple[np.ndarray, np.ndarray],
    weight: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Return weights `(outputs, width)` and biases `(outputs,)`: the regression, moved by a quantile of its errors.

    It is where a head starts; that quantiles lie apart by more for some rows than for others is for training.

    Args:
        target: A regression with a loss of its own.
        features: float32 `(rows, width)`.
        encoded: Labels on the scale that is learnt `(rows, 1)`.
        found: Weights `(outputs, width)`, of which the first row counts, and biases.
        weight: Row weights.
    """
    assert target.loss is not None
    levels = target.levels or ((0.5,) if target.loss.name in MEDIAN else ())
    coef, intercept = found[0][:1], found[1][:1]
    if not levels:
        return coef, intercept
    errors = encoded[:, 0] - (features @ coef[0].astype(np.float32)).astype(np.float64) - intercept[0]
    moved = np.array([weighted_quantile(errors, level, weight) for level in levels])
    return np.repeat(coef, len(levels), axis=0), intercept[0] + moved
