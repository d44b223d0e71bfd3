"""Metrics by name, computed by scikit-learn or in numpy, in the label's own units.

A metric that the data do not define (ROC AUC with one class present, a correlation with a constant) is NaN,
without a warning. `signed` turns a value into one where greater is better, NaN into -inf.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from thermocline.errors import ConfigError, DataError, did_you_mean, listing
from thermocline.problems.object_detection.metrics import DETECTION_METRICS, coco_scores

if TYPE_CHECKING:
    from thermocline.problems.rowwise.task import Task

Array = np.ndarray
PROBLEM_TYPES = ("binary", "multiclass", "multilabel", "regression", "object_detection")
DEFAULT_METRIC = {
    "binary": "roc_auc",
    "multiclass": "accuracy",
    "multilabel": "average_precision",  # needs no threshold, so it moves from the first epoch on
    "regression": "rmse",
    "object_detection": "map",
}
# what `evaluate` shows beside the metric of the task
USUAL_METRICS = {
    "binary": ("accuracy", "roc_auc", "f1", "log_loss"),
    "multiclass": ("accuracy", "f1_macro", "log_loss"),
    "multilabel": ("f1_macro", "f1_micro", "roc_auc"),
    "regression": ("rmse", "mae", "r2"),
    "object_detection": ("map", "map_50", "map_75"),
}
ALIASES = {
    "acc": "accuracy",
    "root_mean_squared_error": "rmse",
    "mean_squared_error": "mse",
    "mean_absolute_error": "mae",
    "mean_absolute_percentage_error": "mape",
    "spearmanr": "spearman",
    "pearsonr": "pearson",
    "roc_auc_ovr": "roc_auc",
    "roc_auc_ovr_macro": "roc_auc",
    "auc": "roc_auc",
    "nll": "log_loss",
    "cross_entropy": "log_loss",
    "quadratic_weighted_kappa": "quadratic_kappa",
    "subset_accuracy": "accuracy",
    "matthews_corrcoef": "mcc",
    "mean_average_precision": "map",
    "mAP": "map",
    "ap50": "map_50",
    "ap75": "map_75",
}


@dataclass(frozen=True)
class Metric:
    """A way to score.

    Attributes:
        name: Its canonical name.
        greater_is_better: Whether more is better.
        needs: `prediction` (classes, 0/1 per label, numbers), `probability` or `boxes`.
        problem_types: Where it can be used.
        compute: `(problem_type, target, given, weight) -> float`.
    """

    name: str
    greater_is_better: bool
    needs: str
    problem_types: tuple[str, ...]
    compute: Callable[[str, Array, Array, Array | None], float] = field(repr=False, compare=False)


def get_metric(name: str, problem_type: str | None = None) -> Metric:
    """Return the metric of that name or alias.

    Raises:
        ConfigError: No such metric, or not one for the problem type; names those that are.
    """
    found = METRICS.get(ALIASES.get(name, name)) if isinstance(name, str) else None
    fitting = list_metrics(problem_type)
    where = f" for {problem_type} problems" if problem_type else ""
    if found is None:
        raise ConfigError(
            f"Unknown metric {name!r}.{did_you_mean(name, [*fitting, *ALIASES])} "
            f"Metrics{where}: {listing(fitting, limit=40)}."
        )
    if problem_type is not None and problem_type not in found.problem_types:
        near = did_you_mean(f"{found.name}_macro", [m for m in fitting if m.startswith(found.name)])
        raise ConfigError(
            f"The metric {name!r} is for {' and '.join(found.problem_types)} problems, and this one is "
            f"{problem_type}.{near} Metrics{where}: {listing(fitting, limit=40)}. If the problem "
            "type is wrong, pass problem_type=..."
        )
    return found


def check_options(problem_type: str | None, eval_metric: str | None) -> None:
    """Check a problem type and a metric before there is data.

    Raises:
        ConfigError: One does not exist, or they do not go together.
    """
    if problem_type is not None and problem_type not in PROBLEM_TYPES:
        raise ConfigError(
            f"Unknown problem_type {problem_type!r}: choose from {listing(PROBLEM_TYPES)}."
            f"{did_you_mean(problem_type, PROBLEM_TYPES)}"
        )
    if eval_metric is not None:
        get_metric(eval_metric, problem_type)


def list_metrics(problem_type: str | None = None) -> list[str]:
    """Return the names of the metrics, of one problem type if given."""
    return [m.name for m in METRICS.values() if problem_type is None or problem_type in m.problem_types]


def signed(name: str, value: float) -> float:
    """Return the value so that greater is better; NaN, which compares with nothing, is -inf."""
    if math.isnan(value):
        return -math.inf
    return value if get_metric(name).greater_is_better else -value


def score(
    task: Task,
    names: str | Iterable[str],
    target: Array,
    logits: Array,
    sample_weight: Array | None = None,
) -> dict[str, float]:
    """Return each metric by the name it was asked for, in the label's own units.

    Args:
        task: The task that encoded the target.
        names: One metric or several; aliases are fine.
        target: What `task.encode` returned; for each image its true boxes, where boxes are wanted.
        logits: Raw outputs of a model `(n, task.width)`, or the boxes found. Where one is not finite, every metric is
            NaN.
        sample_weight: A weight per row `(n,)`; where they add up to 0, every metric is NaN.

    Raises:
        ConfigError: A metric that does not exist or does not fit the problem type.
        DataError: Targets, outputs and weights of different length.
    """
    asked = [names] if isinstance(names, str) else list(names)
    metrics = [get_metric(name, task.problem_type) for name in asked]
    if task.problem_type == "object_detection":
        return {name: one.compute("", target, logits, None) for name, one in zip(asked, metrics, strict=True)}
    logits = np.asarray(logits, dtype=np.float64)
    weight = None if sample_weight is None else np.asarray(sample_weight, dtype=np.float64).reshape(-1)
    if len(target) != len(logits) or (weight is not None and len(weight) != len(target)):
        raise DataError(
            f"{len(target)} targets, {len(logits)} rows of outputs"
            + (f" and {len(weight)} weights" if weight is not None else "")
            + " do not belong together."
        )
    if len(target) == 0 or not np.isfinite(logits).all() or (weight is not None and not weight.sum() > 0):
        return dict.fromkeys(asked, math.nan)
    if task.problem_type == "regression":
        given = {"prediction": task.restore(logits)}
        target = task.restore(np.asarray(target, dtype=np.float64))
    else:
        given = {"prediction": task.choose(logits), "probability": task.activate(logits)}
    return {
        name: float(metric.compute(task.problem_type, target, given[metric.needs], weight))
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


def _of_boxes(name: str, _problem: str, truths: Any, found: Any, _weight: Array | None) -> float:
    """One of COCO's scores; truths and found are boxes by image."""
    classes = dict.fromkeys(box["label"] for boxes in (*truths, *found) for box in boxes)
    return float(coco_scores(truths, found, tuple(classes))[name])


def _catalogue() -> dict[str, Metric]:
    labels = ("binary", "multiclass", "multilabel")
    classes = ("binary", "multiclass")
    found = [
        Metric("accuracy", True, "prediction", labels, _accuracy),
        Metric("balanced_accuracy", True, "prediction", classes, _balanced_accuracy),
        Metric("roc_auc", True, "probability", labels, partial(_one_by_one, "roc_auc_score")),
        Metric("average_precision", True, "probability", labels, partial(_one_by_one, "average_precision_score")),
        Metric("log_loss", False, "probability", labels, _log_loss),
        Metric("mcc", True, "prediction", classes, _mcc),
        Metric("quadratic_kappa", True, "prediction", classes, _quadratic_kappa),
        Metric("hamming_loss", False, "prediction", labels, _hamming),
    ]
    for stem in ("f1", "precision", "recall"):
        found.append(Metric(stem, True, "prediction", ("binary",), partial(_sklearn_prf, f"{stem}_score", "binary")))
        for average in ("macro", "micro", "weighted"):
            compute = partial(_sklearn_prf, f"{stem}_score", average)
            found.append(Metric(f"{stem}_{average}", True, "prediction", labels, compute))
    numbers = ("regression",)
    found += [
        Metric("rmse", False, "prediction", numbers, _flat(lambda t, g, w: math.sqrt(_mse(t, g, w)))),
        Metric("mse", False, "prediction", numbers, _flat(_mse)),
        Metric("mae", False, "prediction", numbers, _flat(_mae)),
        Metric("median_absolute_error", False, "prediction", numbers, _flat(_median_error)),
        Metric("mape", False, "prediction", numbers, _flat(_mape)),
        Metric("r2", True, "prediction", numbers, _flat(_r2)),
        Metric("spearman", True, "prediction", numbers, _flat(_spearman)),
        Metric("pearson", True, "prediction", numbers, _flat(_pearson)),
    ]
    boxes = ("object_detection",)
    found += [Metric(name, True, "boxes", boxes, partial(_of_boxes, name)) for name in DETECTION_METRICS]
    return {metric.name: metric for metric in found}


METRICS = _catalogue()
