"""The end of a fit: what cosines mean, by the validation rows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from thermocline.contracts.closing import Closing, Settled
from thermocline.contracts.problem import Assembly
from thermocline.problems.similarity.info import BINARY, POSITIVES
from thermocline.problems.similarity.metrics import best_threshold
from thermocline.problems.similarity.target import PairTarget, cosines_of

FEWEST = 10
"""Validation rows from which a line is fitted."""
STEEPEST = 100.0


def settle(assembly: Assembly, closing: Closing) -> Settled:
    """Return the target with the line from cosines to grades, or to the logit of a match (Platt 1999); and a threshold.

    The line rises, so that the order of predictions is that of the cosines.

    Args:
        assembly: The model, in the state that is kept.
        closing: Its outputs on the validation rows.
    """
    target: PairTarget = assembly.target
    given = assembly.config.optim.threshold
    fixed = None if given == "auto" else float(given)
    none = Settled(replace(target, threshold=fixed or 0.5) if target.form == BINARY else target, closing.scores)
    if target.form == POSITIVES or closing.valid_outputs is None:
        return none
    rows = closing.rows["valid"]
    assert rows.target is not None
    cosines, value = cosines_of(closing.valid_outputs), rows.target[:, 0]
    known = np.isfinite(cosines) & (rows.weights > 0)
    cosines, value, weight = cosines[known], value[known], rows.weights[known].astype(np.float64)
    if len(value) < FEWEST or len(np.unique(value)) < 2 or np.ptp(cosines) <= 0:
        return none
    slope, offset = (_logistic if target.form == BINARY else _line)(cosines, value, weight)
    if slope <= 0:
        return none
    if target.form != BINARY:
        scale = target.high - target.low
        target = replace(target, slope=slope * scale, offset=offset * scale + target.low)
        note = f"scores are {target.slope:.3g} · cosine {target.offset:+.3g}, by the validation rows"
        return replace(none, target=target, notes=(note,))
    target = replace(target, slope=slope, offset=offset)
    called = target.called(cosines)
    tuned = best_threshold(target.eval_metric, called, value > 0, weight) if fixed is None else fixed
    target = replace(target, threshold=tuned)
    at = (np.log(tuned / (1 - tuned)) - offset) / slope if 0 < tuned < 1 else float("nan")
    note = f"pairs match above a probability of {tuned:.3g}, a cosine of {at:.3g}, by the validation rows"
    return replace(none, target=target, notes=(note,))


def _line(cosines: np.ndarray, value: np.ndarray, weight: np.ndarray) -> tuple[float, float]:
    """Return slope and offset of the least squares."""
    x, y = cosines - np.average(cosines, weights=weight), value - np.average(value, weights=weight)
    slope = float((weight * x * y).sum() / (weight * x * x).sum())
    return slope, float(np.average(value, weights=weight) - slope * np.average(cosines, weights=weight))


def _logistic(cosines: np.ndarray, value: np.ndarray, weight: np.ndarray) -> tuple[float, float]:
    """Return slope and offset of a logistic regression, held back where the cosines part the classes."""
    from sklearn.linear_model import LogisticRegression

    model: Any = LogisticRegression(C=100.0).fit(cosines[:, None], value > 0, sample_weight=weight)
    return min(float(model.coef_[0, 0]), STEEPEST), float(model.intercept_[0])
