"""Metrics of numbers, in the label's own units. Targets and predictions are numbers `(n, 1)`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from thermocline.problems.rowwise.computed import Array, Computed, Weight


def pinball(levels: Sequence[float], column: int | None = None) -> Computed:
    """Return the mean pinball loss (Koenker and Bassett 1978).

    Args:
        levels: Of quantiles, a column for each; or of the prediction, where there is one.
        column: The column that alone counts.
    """
    return Computed("quantiles", partial(_pinball, np.asarray(levels, dtype=np.float64), column))


def pinball_of_prediction(level: float) -> Computed:
    """Return the pinball loss of what is predicted."""
    return Computed("prediction", partial(_pinball, np.array([level]), None))


def _pinball(levels: Array, column: int | None, _problem: str, target: Array, given: Array, weight: Weight) -> float:
    errors = np.asarray(target, dtype=np.float64).reshape(-1, 1) - given
    losses = np.maximum(levels * errors, (levels - 1) * errors)
    return float(np.average(losses.mean(axis=1) if column is None else losses[:, column], weights=weight))


def _flat(
    compute: Callable[[Array, Array, Array], float],
) -> Callable[[str, Array, Array, Weight], float]:
    def run(_problem: str, target: Array, given: Array, weight: Weight) -> float:
        truth = np.asarray(target, dtype=np.float64).reshape(-1)
        return compute(truth, given.reshape(-1), np.ones(len(truth)) if weight is None else weight)

    return run


def _mse(truth: Array, given: Array, weight: Array) -> float:
    return float(np.average((truth - given) ** 2, weights=weight))


def _mae(truth: Array, given: Array, weight: Array) -> float:
    return float(np.average(np.abs(truth - given), weights=weight))


def _median_error(truth: Array, given: Array, weight: Array) -> float:
    from sklearn.metrics import median_absolute_error

    even = bool((weight == weight[0]).all())
    return float(median_absolute_error(truth, given, sample_weight=None if even else weight))


def _mape(truth: Array, given: Array, weight: Array) -> float:
    if (truth == 0).any():
        return math.nan
    return float(np.average(np.abs((truth - given) / truth), weights=weight))


def _r2(truth: Array, given: Array, weight: Array) -> float:
    spread = np.average((truth - np.average(truth, weights=weight)) ** 2, weights=weight)
    varied = truth.min() < truth.max() and spread > 0  # weights of 0 may leave one value
    return 1.0 - _mse(truth, given, weight) / float(spread) if varied else math.nan


def _pearson(truth: Array, given: Array, weight: Array) -> float:
    if truth.min() == truth.max() or given.min() == given.max():
        return math.nan
    a = truth - np.average(truth, weights=weight)
    b = given - np.average(given, weights=weight)
    below = math.sqrt(float((weight * a * a).sum()) * float((weight * b * b).sum()))
    return float((weight * a * b).sum()) / below if below > 0 else math.nan


def _spearman(truth: Array, given: Array, weight: Array) -> float:
    from scipy.stats import rankdata

    return _pearson(rankdata(truth), rankdata(given), weight)


def _smape(truth: Array, given: Array, weight: Array) -> float:
    """Return the symmetric percentage error as a share from 0 to 2 (Makridakis 1993); two zeros are no error."""
    size = np.abs(truth) + np.abs(given)
    return float(np.average(2 * np.abs(truth - given) / np.where(size > 0, size, 1.0), weights=weight))


def _wape(truth: Array, given: Array, weight: Array) -> float:
    size = float((weight * np.abs(truth)).sum())
    return float((weight * np.abs(truth - given)).sum()) / size if size > 0 else math.nan


def _msle(truth: Array, given: Array, weight: Array) -> float:
    """Return the squared error of log(1 + y); predictions below 0 count as 0, of labels below 0 there is none."""
    if (truth < 0).any():
        return math.nan
    return _mse(np.log1p(truth), np.log1p(np.maximum(given, 0.0)), weight)


def _explained_variance(truth: Array, given: Array, weight: Array) -> float:
    spread = np.average((truth - np.average(truth, weights=weight)) ** 2, weights=weight)
    if not (truth.min() < truth.max() and spread > 0):
        return math.nan
    off = truth - given
    return 1.0 - float(np.average((off - np.average(off, weights=weight)) ** 2, weights=weight) / spread)


def _max_error(truth: Array, given: Array, weight: Array) -> float:
    return float(np.abs(truth - given)[weight > 0].max())


NUMBER_METRICS: dict[str, Computed] = {
    name: Computed("prediction", _flat(compute))
    for name, compute in {
        "rmse": lambda t, g, w: math.sqrt(_mse(t, g, w)),
        "mse": _mse,
        "mae": _mae,
        "median_absolute_error": _median_error,
        "max_error": _max_error,
        "mape": _mape,
        "smape": _smape,
        "wape": _wape,
        "rmsle": lambda t, g, w: math.sqrt(_msle(t, g, w)),
        "msle": _msle,
        "r2": _r2,
        "explained_variance": _explained_variance,
        "spearman": _spearman,
        "pearson": _pearson,
    }.items()
}
