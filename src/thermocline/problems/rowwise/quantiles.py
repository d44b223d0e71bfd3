"""Quantiles that are learnt: in order, moved to where the validation rows have them, and intervals between two.

Where quantiles are learnt together they may cross; they are sorted (Chernozhukov et al., Econometrica 2010). One that
is learnt from few rows is too near to these rows; it is moved to that of the validation rows where it clearly is not
there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from thermocline.problems.rowwise.calibration_gain import effective_count
from thermocline.problems.rowwise.intervals import Residuals

LEAST_CERTAINTY = 2.0  # in standard errors


def weighted_quantile(values: np.ndarray, level: float, weight: np.ndarray | None = None) -> float:
    """Return the smallest value up to which a share `level` of the weight lies.

    Args:
        values: `(rows,)`, at least one.
        level: Above 0 and below 1.
        weight: Row weights; None: all alike.
    """
    order = np.argsort(values, kind="stable")
    below = np.cumsum(np.ones(len(values)) if weight is None else np.asarray(weight, dtype=np.float64)[order])
    place = int(np.searchsorted(below, level * below[-1] * (1 - 1e-12)))
    return float(values[order[min(place, len(values) - 1)]])


def offsets(
    levels: Sequence[float], outputs: np.ndarray, truth: np.ndarray, weight: np.ndarray | None
) -> tuple[float, ...]:
    """Return what each output is moved by: to the quantile of the validation rows where it is clearly not there.

    That is where the share of rows below it is off by more than two standard errors of such a share (Kupiec 1995).

    Args:
        levels: Of the quantiles.
        outputs: On the scale that is learnt `(rows, levels)`.
        truth: Alike `(rows, 1)`.
        weight: Row weights, or None.
    """
    rows = effective_count(weight, len(truth))
    found = []
    for column, level in enumerate(levels):
        errors = np.asarray(truth[:, 0], dtype=np.float64) - outputs[:, column]
        off = float(np.average(errors <= 0, weights=weight)) - level
        clear = abs(off) > LEAST_CERTAINTY * math.sqrt(level * (1 - level) / max(rows, 1e-12))
        found.append(weighted_quantile(errors, level, weight) if clear else 0.0)
    return tuple(found)


def pairs(levels: Sequence[float]) -> list[tuple[int, int]]:
    """Return the pairs of levels that lie around the middle ones, the outermost first."""
    return [(low, len(levels) - 1 - low) for low in range(len(levels) // 2)]


def scores(truth: np.ndarray, quantiles: np.ndarray) -> tuple[Residuals, ...]:
    """Return by how much the truth is outside of each pair, below 0 where inside (Romano et al., NeurIPS 2019).

    Args:
        truth: Numbers `(rows,)` in the label's units.
        quantiles: Alike `(rows, levels)`, in order.
    """
    found = []
    for low, high in pairs(range(quantiles.shape[1])):
        made = Residuals.signed(np.maximum(quantiles[:, low] - truth, truth - quantiles[:, high]))
        if made is not None:
            found.append(made)
    return tuple(found)


def nearest(levels: Sequence[float], level: float) -> int:
    """Return the place of the level that is the nearest to one."""
    return min(range(len(levels)), key=lambda one: abs(levels[one] - level))


def nearest_pair(levels: Sequence[float], coverage: float) -> int:
    """Return the number of the pair that by its levels holds about a share of rows."""
    return min(
        range(len(pairs(levels))),
        key=lambda one: (abs(levels[pairs(levels)[one][1]] - levels[pairs(levels)[one][0]] - coverage), one),
    )
