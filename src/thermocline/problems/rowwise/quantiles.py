"""Quantiles that are learnt: in order, moved to where the validation rows have them, and intervals between two.

Where quantiles are learnt together they may cross; they are sorted (Chernozhukov et al., Econometrica 2010). One that
is learnt from few rows is too near to these rows; it is moved by the quantile of its errors on the validation rows,
where that makes their pinball loss clearly smaller.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from thermocline.problems.rowwise.calibration_gain import LEAST_GAIN, effective_count
from thermocline.problems.rowwise.intervals import Residuals


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


def pinball(levels: Sequence[float], errors: np.ndarray) -> np.ndarray:
    """Return the pinball loss of errors (truth minus quantile) `(rows, levels)`, alike."""
    of = np.asarray(levels, dtype=np.float64)
    return np.asarray(np.maximum(of * errors, (of - 1) * errors))


def offsets(
    levels: Sequence[float], outputs: np.ndarray, truth: np.ndarray, weight: np.ndarray | None
) -> tuple[float, ...]:
    """Return what each output is moved by; 0 where the validation rows do not clearly ask for it.

    It has to gain more log-likelihood, of errors whose density falls with their pinball loss, than Akaike's criterion
    takes for a parameter.

    Args:
        levels: Of the quantiles.
        outputs: On the scale that is learnt `(rows, levels)`.
        truth: Alike `(rows, 1)`.
        weight: Row weights, or None.
    """
    found = []
    for column, level in enumerate(levels):
        errors = np.asarray(truth[:, 0], dtype=np.float64) - outputs[:, column]
        moved = weighted_quantile(errors, level, weight)
        before, after = (np.average(pinball([level], one), weights=weight) for one in (errors, errors - moved))
        rows = effective_count(weight, len(errors))
        clear = after > 0 and rows * math.log(before / after) > LEAST_GAIN
        found.append(moved if clear else 0.0)
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


def nearest_pair(levels: Sequence[float], coverage: float) -> int:
    """Return the number of the pair that by its levels holds about a share of rows."""
    return min(
        range(len(pairs(levels))),
        key=lambda one: (abs(levels[pairs(levels)[one][1]] - levels[pairs(levels)[one][0]] - coverage), one),
    )
