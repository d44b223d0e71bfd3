"""Temperature scaling (Guo et al., ICML 2017): one number that outputs are divided by before they are probabilities.

One number for all outputs changes no order, so the predicted classes stay; a number or an offset per class would not
let them. It is the most likely one, given the validation rows, a normal prior of its logarithm, and one pseudo-row that
is of every class alike. The pseudo-row matters where few rows hold no mistake: without it they ask for more confidence
than they show.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from thermocline.problems.rowwise.metrics import score
from thermocline.problems.rowwise.target import RowTarget

CALIBRATED = ("binary", "multiclass", "multilabel")
SPREAD = 0.5
"""Standard deviation of the prior, around a temperature of 1."""
LEAST_GAIN = 1.0
"""Log-likelihood that a temperature has to gain: what Akaike's criterion (1974) takes for a parameter."""
MOST_ROWS = 20_000
"""Of more rows, so many are taken, evenly."""
LEAST, MOST = 0.02, 50.0
TOLERANCE = 1e-4


def calibrated(
    target: RowTarget, outputs: np.ndarray, encoded: np.ndarray, weight: np.ndarray | None = None
) -> tuple[RowTarget, tuple[str, ...]]:
    """Return the target with the temperature that rows ask for, and a note; unchanged where log-loss hardly falls.

    Args:
        target: Classes or labels.
        outputs: float `(rows, width)`; rows that are not finite are left out.
        encoded: Class numbers `(rows,)`, or 0/1 `(rows, labels)`.
        weight: Row weights `(rows,)`, or None.
    """
    rows = np.isfinite(outputs).all(axis=1)
    outputs, encoded, weight = outputs[rows], encoded[rows], None if weight is None else weight[rows]
    found = temperature(target, outputs, encoded, weight)
    scaled = replace(target, temperature=found)
    before, after = (score(one, "log_loss", encoded, outputs, weight)["log_loss"] for one in (target, scaled))
    if not effective_count(weight, len(encoded)) * (before - after) > LEAST_GAIN:
        return target, ()
    return scaled, (f"temperature {found:.3g}: validation log-loss {before:.3g} → {after:.3g}",)


def temperature(target: RowTarget, outputs: np.ndarray, encoded: np.ndarray, weight: np.ndarray | None = None) -> float:
    """Return the most likely temperature, given outputs and labels.

    Args:
        target: Classes or labels.
        outputs: float `(rows, width)`; rows that are not finite are left out.
        encoded: Class numbers `(rows,)`, or 0/1 `(rows, labels)`.
        weight: Row weights `(rows,)`, or None. Only their proportions count; they stand for
            (Σw)² / Σw² rows (Kish 1965).

    Returns:
        Between 0.02 and 50; 1 where no row counts.
    """
    from scipy.optimize import minimize_scalar

    rows = np.flatnonzero(np.isfinite(outputs).all(axis=1) & (True if weight is None else weight > 0))
    if not len(rows):
        return 1.0
    weight = np.ones(len(rows)) if weight is None else np.asarray(weight, dtype=np.float64)[rows]
    count = effective_count(weight, len(rows))
    if len(rows) > MOST_ROWS:
        kept = np.linspace(0, len(rows) - 1, MOST_ROWS).round().astype(np.int64)
        rows, weight = rows[kept], weight[kept]
    share = weight / weight.sum()
    outputs, encoded = np.asarray(outputs[rows], dtype=np.float64), encoded[rows]

    def loss(log: float) -> float:
        given, pseudo = _losses(target, outputs / math.exp(log), encoded)
        return float(share @ (count * given + pseudo) + (log / SPREAD) ** 2 / 2)

    found = minimize_scalar(
        loss, bounds=(math.log(LEAST), math.log(MOST)), method="bounded", options={"xatol": TOLERANCE}
    )
    return math.exp(float(found.x))


def effective_count(weight: np.ndarray | None, rows: int) -> float:
    """Return how many rows of equal weight rows stand for; 0 where all weights are 0."""
    if weight is None:
        return rows
    squares = float((np.asarray(weight, dtype=np.float64) ** 2).sum())
    return float(weight.sum(dtype=np.float64)) ** 2 / squares if squares else 0.0


def _losses(target: RowTarget, logits: np.ndarray, encoded: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the log-loss of each row `(rows,)`, and what it would be on average were all labels alike.

    That of a row with several labels is the mean over these: their mistakes go together, so it counts as one row.
    """
    if target.problem_type == "multilabel":
        total = np.logaddexp(0.0, logits)
        return (total - encoded * logits).mean(axis=1), (total - logits / 2).mean(axis=1)
    top = logits.max(axis=1)
    sums = top + np.log(np.exp(logits - top[:, None]).sum(axis=1))
    return sums - logits[np.arange(len(logits)), encoded], sums - logits.mean(axis=1)
