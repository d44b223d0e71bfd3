"""Metrics of rows, computed by scikit-learn or in numpy, in the label's own units.

A metric that the data do not define (ROC AUC with one class present, a correlation with a constant) is NaN, without a
warning. Names, aliases and what each is for are in `info.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from thermocline.errors import DataError, counted
from thermocline.problems.rowwise.info import INFO
from thermocline.registry import find_metric

if TYPE_CHECKING:
    from thermocline.problems.rowwise.target import RowTarget

Array = np.ndarray


@dataclass(frozen=True)
class Metric:
    """How a metric is computed.

    Attributes:
        needs: `prediction` (classes, 0/1 per label, numbers) or `probability`.
        compute: `(problem_type, target, given, weight) -> float`.
    """

    needs: str
    compute: Callable[[str, Array, Array, Array | None], float] = field(repr=False, compare=False)


def score(
    target: RowTarget,
    names: str | Iterable[str],
    encoded: Array,
    logits: Array,
    sample_weight: Array | None = None,
) -> dict[str, float]:
    """Return each metric by the name it was asked for, in the label's own units.

    Args:
        target: What encoded the labels.
        names: One metric or several; aliases are fine.
        encoded: What `target.encode` returned.
        logits: Raw outputs of a model `(n, target.width)`. Where one is not finite, every metric is NaN.
        sample_weight: A weight per row `(n,)`; where they add up to 0, every metric is NaN.

    Raises:
        ConfigError: A metric that does not exist or does not fit the problem type.
        DataError: Targets, outputs and weights of different length.
    """
    asked = [names] if isinstance(names, str) else list(names)
    metrics = [METRICS[find_metric(INFO, name, target.problem_type).name] for name in asked]
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
    if target.problem_type == "regression":
        given = {"prediction": target.predicted(logits)}
        encoded = target.restore(np.asarray(encoded, dtype=np.float64))
    else:
        given = {"prediction": target.choose(logits), "probability": target.activate(logits)}
    if target.problem_type == "binary" and target.positive_code == 0:  # here the positive class is number 1
        encoded = 1 - np.asarray(encoded)
        given = {"prediction": 1 - given["prediction"], "probability": given["probability"][:, ::-1]}
    return {
        name: float(metric.compute(target.problem_type, encoded, given[metric.needs], weight))
        for name, metric in zip(asked, metrics, strict=True)
    }


# -- classification: target and prediction are class numbers (n,), or 0/1 (n, labels) --------------


def _accuracy(problem: str, target: Array, given: Array, weight: Array | None) -> float:
    right = target == given
    return float(np.average(right.all(axis=1) if problem == "multilabel" else right, weights=weight))


def _hamming(problem: str, target: Array, given: Array, weight: Array | None) -> float:
    wrong = target != given
    return float(np.average(wrong.mean(axis=1) if problem == "multilabel" else wrong, weights=weight))


def _sklearn_prf(
    function: str, average: str, _problem: str, target: Array, given: Array, weight: Array | None
) -> float:
    from sklearn import metrics

    compute: Any = getattr(metrics, function)
    return float(compute(target, given, average=average, sample_weight=weight, zero_division=0))


def _balanced_accuracy(_problem: str, target: Array, given: Array, weight: Array | None) -> float:
    from sklearn.metrics import recall_score

    present = np.unique(target)  # balanced_accuracy_score would warn where a class was predicted but never occurs
    return float(recall_score(target, given, labels=present, average="macro", sample_weight=weight, zero_division=0))


def _mcc(_problem: str, target: Array, given: Array, weight: Array | None) -> float:
    from sklearn.metrics import matthews_corrcoef

    if len(np.unique(target)) < 2:
        return math.nan
    if len(np.unique(given)) < 2:
        return 0.0  # as scikit-learn's, which divides by a rounding error where rows have weights
    return float(matthews_corrcoef(target, given, sample_weight=weight))


def _quadratic_kappa(_problem: str, target: Array, given: Array, weight: Array | None) -> float:
    from sklearn.metrics import cohen_kappa_score

    labels = np.arange(int(max(target.max(), given.max())) + 1)
    if len(labels) < 2 or (len(np.unique(target)) == 1 and np.array_equal(np.unique(target), np.unique(given))):
        return math.nan
    return float(cohen_kappa_score(target, given, labels=labels, weights="quadratic", sample_weight=weight))


def _one_by_one(function: str, problem: str, target: Array, given: Array, weight: Array | None) -> float:
    """Average a ranking metric over the classes or labels that it is defined for."""
    from sklearn import metrics

    compute: Any = getattr(metrics, function)
    if problem == "binary":
        pairs = [(target == 1, given[:, 1])]
    elif problem == "multiclass":
        pairs = [(target == k, given[:, k]) for k in range(given.shape[1])]
    else:
        pairs = [(target[:, k] > 0.5, given[:, k]) for k in range(given.shape[1])]
    needs_others = function == "roc_auc_score"
    values = [
        compute(truth, value, sample_weight=weight)
        for truth, value in pairs
        if truth.any() and not (needs_others and truth.all())
    ]
    return float(np.mean(values)) if values else math.nan


def _log_loss(problem: str, target: Array, given: Array, weight: Array | None) -> float:
    chance = np.clip(given, 1e-15, 1.0)
    if problem == "multilabel":
        other = np.clip(1.0 - given, 1e-15, 1.0)
        loss = -(target * np.log(chance) + (1 - target) * np.log(other)).mean(axis=1)
    else:
        loss = -np.log(chance[np.arange(len(target)), target])
    return float(np.average(loss, weights=weight))


# -- regression: target and prediction are numbers (n, 1) ------------------------------------------


def _flat(
    compute: Callable[[Array, Array, Array], float],
) -> Callable[[str, Array, Array, Array | None], float]:
    def run(_problem: str, target: Array, given: Array, weight: Array | None) -> float:
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


METRICS: dict[str, Metric] = {
    "accuracy": Metric("prediction", _accuracy),
    "balanced_accuracy": Metric("prediction", _balanced_accuracy),
    "roc_auc": Metric("probability", partial(_one_by_one, "roc_auc_score")),
    "average_precision": Metric("probability", partial(_one_by_one, "average_precision_score")),
    "log_loss": Metric("probability", _log_loss),
    "mcc": Metric("prediction", _mcc),
    "quadratic_kappa": Metric("prediction", _quadratic_kappa),
    "hamming_loss": Metric("prediction", _hamming),
    "rmse": Metric("prediction", _flat(lambda t, g, w: math.sqrt(_mse(t, g, w)))),
    "mse": Metric("prediction", _flat(_mse)),
    "mae": Metric("prediction", _flat(_mae)),
    "median_absolute_error": Metric("prediction", _flat(_median_error)),
    "mape": Metric("prediction", _flat(_mape)),
    "r2": Metric("prediction", _flat(_r2)),
    "spearman": Metric("prediction", _flat(_spearman)),
    "pearson": Metric("prediction", _flat(_pearson)),
}
for _stem in ("f1", "precision", "recall"):
    METRICS[_stem] = Metric("prediction", partial(_sklearn_prf, f"{_stem}_score", "binary"))
    for _average in ("macro", "micro", "weighted"):
        METRICS[f"{_stem}_{_average}"] = Metric("prediction", partial(_sklearn_prf, f"{_stem}_score", _average))
