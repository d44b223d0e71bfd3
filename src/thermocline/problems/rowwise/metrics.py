"""Metrics of rows, computed by scikit-learn or in numpy, in the label's own units.

A metric that the data do not define (ROC AUC with one class present, a correlation with a constant) is NaN, without a
warning. Names, aliases and what each is for are in `info.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import numpy as np

from thermocline.errors import DataError, counted
from thermocline.problems.rowwise.class_metrics import CLASS_METRICS, top_k
from thermocline.problems.rowwise.computed import Array, Computed
from thermocline.problems.rowwise.info import INFO
from thermocline.problems.rowwise.number_metrics import NUMBER_METRICS, pinball, pinball_of_prediction
from thermocline.problems.rowwise.own_metrics import own_score
from thermocline.registry import find_metric
from thermocline.registry.metrics import Metric

if TYPE_CHECKING:
    from thermocline.problems.rowwise.target import RowTarget

METRICS: dict[str, Computed] = {**CLASS_METRICS, **NUMBER_METRICS}


def score(
    target: RowTarget,
    names: str | Metric | Iterable[str | Metric],
    encoded: Array,
    logits: Array,
    sample_weight: Array | None = None,
) -> dict[str, float]:
    """Return each metric by the name it was asked for, in the label's own units.

    Args:
        target: What encoded the labels.
        names: One metric or several; aliases are fine, and so is the name of `target.metric`.
        encoded: What `target.encode` returned.
        logits: Raw outputs of a model `(n, target.width)`. Where one is not finite, every metric is NaN.
        sample_weight: A weight per row `(n,)`; where they add up to 0, every metric is NaN.

    Raises:
        ConfigError: A metric that does not exist or does not fit the problem type; one of the caller's own that raises,
            or returns no number.
        DataError: Targets, outputs and weights of different length.
    """
    asked = {_name(one): one for one in ([names] if isinstance(names, (str, Metric)) else names)}
    found = {name: _found(target, one) for name, one in asked.items()}
    logits = np.asarray(logits, dtype=np.float64)
    weight = None if sample_weight is None else np.asarray(sample_weight, dtype=np.float64).reshape(-1)
    if len(encoded) != len(logits) or (weight is not None and len(weight) != len(encoded)):
        raise DataError(
            f"{counted(len(encoded), 'target')}, {counted(len(logits), 'row')} of outputs"
            + (f" and {counted(len(weight), 'weight')}" if weight is not None else "")
            + " do not belong together."
        )
    if len(encoded) == 0 or not np.isfinite(logits).all() or (weight is not None and not weight.sum() > 0):
        return dict.fromkeys(asked, math.nan)
    truth, given = given_of(target, encoded, logits)
    return {
        name: own_score(target, one, encoded, logits, weight)
        if isinstance(one, Metric)
        else float(one.compute(target.problem_type, truth, given[one.needs](), weight))
        for name, one in found.items()
    }


def _name(metric: str | Metric) -> str:
    return metric if isinstance(metric, str) else metric.name


def given_of(target: RowTarget, encoded: Array, logits: Array) -> tuple[Array, dict[str, Callable[[], Array]]]:
    """Return what is true, and what a metric may need, by name."""
    if target.problem_type == "regression":
        truth = target.restore(np.asarray(encoded, dtype=np.float64))
        return truth, {"prediction": lambda: target.predicted(logits), "quantiles": lambda: target.quantiles(logits)}
    chosen, chances = target.choose(logits), target.activate(logits)
    if target.problem_type == "binary" and target.positive_code == 0:  # here the positive class is number 1
        encoded, chosen, chances = 1 - np.asarray(encoded), 1 - chosen, chances[:, ::-1]
    return encoded, {"prediction": lambda: chosen, "probability": lambda: chances}


def _found(target: RowTarget, metric: str | Metric) -> Computed | Metric:
    """Return how a metric is computed."""
    if target.metric is not None and metric == target.metric.name:
        metric = target.metric
    if isinstance(metric, Metric):
        return metric
    name, _, number = find_metric(INFO, metric, target.problem_type).name.partition(":")
    if name == "top_k":
        return top_k(float(number or 5))
    return _pinball(target, number) if name == "pinball" else METRICS[name]


def _pinball(target: RowTarget, number: str) -> Computed:
    """Return the pinball loss of a level, or of the levels that are learnt."""
    levels = target.levels
    if not number:
        return pinball(levels) if levels else pinball_of_prediction(0.5)
    level = float(number)
    return pinball(levels, levels.index(level)) if level in levels else pinball_of_prediction(level)
