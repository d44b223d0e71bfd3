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

from thermocline.problems.rowwise.calibration_gain import LEAST_GAIN, effective_count
from thermocline.problems.rowwise.metrics import score
from thermocline.problems.rowwise.target import RowTarget

CALIBRATED = ("binary", "multiclass", "multilabel")
SPREAD = 0.5
"""Standard deviation of the prior, around a temperature of 1."""
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
        weight: Row weights `(rows,)`, those of the classes counted in, or None.
    """
    rows = np.isfinite(outputs).all(axis=1)
    outputs, encoded, weight = outputs[rows], encoded[rows], None if weight is None else weight[rows]
    found = temperature(target, outputs, encoded, weight)
    scaled = replace(target, temperature=found)
    before, after = (_log_loss(one, encoded, outputs, weight) for one in (target, scaled))
    if not effective_count(weight, len(encoded)) * (before - after) > LEAST_GAIN:
        return target, ()
    weighted = " with class weights" if target.class_weights else ""
    return scaled, (f"temperature {found:.3g}: validation log-loss{weighted} {before:.3g} → {after:.3g}",)


def _log_loss(target: RowTarget, encoded: np.ndarray, outputs: np.ndarray, weight: np.ndarray | None) -> float:
    """Return the log-loss that calibration lowers: with the weights of labels where they have some."""
    if not target.label_weights:
        return score(target, "log_loss", encoded, outputs, weight)["log_loss"]
    losses, _ = _losses(target, np.asarray(outputs, dtype=np.float64) / target.temperature, encoded)
    return float(np.average(losses, weights=weight))


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


def _losses(target: RowTarget, logits: np.ndarray, encoded: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the log-loss of each row `(rows,)`, and what it would be on average were all labels alike.

    That of a row with several labels is the mean over these: their mistakes go together, so it counts as one row.
    """
    if target.label_weights:
        present, absent = target.label_weights * np.logaddexp(0.0, -logits), np.logaddexp(0.0, logits)
        given = encoded * present + (1 - encoded) * absent
        return given.mean(axis=1), (present + absent).mean(axis=1) / 2
    if target.problem_type == "multilabel":
        total = np.logaddexp(0.0, logits)
        return (total - encoded * logits).mean(axis=1), (total - logits / 2).mean(axis=1)
    top = logits.max(axis=1)
    sums = top + np.log(np.exp(logits - top[:, None]).sum(axis=1))
    return sums - logits[np.arange(len(logits)), encoded], sums - logits.mean(axis=1)
