"""Metrics of classes and labels. Targets and predictions are class numbers `(n,)`, or 0 and 1 `(n, labels)`."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np

from thermocline.problems.rowwise.computed import Array, Computed, Weight

BINS = 15  # of the confidence, as Guo et al. 2017


def top_k(number: float) -> Computed:
    """Return the share of rows whose class is among the k most probable ones."""
    return Computed("probability", partial(_top_k, int(number)))


def _accuracy(problem: str, target: Array, given: Array, weight: Weight) -> float:
    right = target == given
    return float(np.average(right.all(axis=1) if problem == "multilabel" else right, weights=weight))


def _hamming(problem: str, target: Array, given: Array, weight: Weight) -> float:
    wrong = target != given
    return float(np.average(wrong.mean(axis=1) if problem == "multilabel" else wrong, weights=weight))


def _sklearn_prf(function: str, average: str, _problem: str, target: Array, given: Array, weight: Weight) -> float:
    from sklearn import metrics

    compute: Any = getattr(metrics, function)
    return float(compute(target, given, average=average, sample_weight=weight, zero_division=0))


def _balanced_accuracy(_problem: str, target: Array, given: Array, weight: Weight) -> float:
    from sklearn.metrics import recall_score

    present = np.unique(target)  # balanced_accuracy_score would warn where a class was predicted but never occurs
    return float(recall_score(target, given, labels=present, average="macro", sample_weight=weight, zero_division=0))


def _mcc(_problem: str, target: Array, given: Array, weight: Weight) -> float:
    from sklearn.metrics import matthews_corrcoef

    if len(np.unique(target)) < 2:
        return math.nan
    if len(np.unique(given)) < 2:
        return 0.0  # as scikit-learn's, which divides by a rounding error where rows have weights
    return float(matthews_corrcoef(target, given, sample_weight=weight))


def _quadratic_kappa(_problem: str, target: Array, given: Array, weight: Weight) -> float:
    from sklearn.metrics import cohen_kappa_score

    labels = np.arange(int(max(target.max(), given.max())) + 1)
    if len(labels) < 2 or (len(np.unique(target)) == 1 and np.array_equal(np.unique(target), np.unique(given))):
        return math.nan
    return float(cohen_kappa_score(target, given, labels=labels, weights="quadratic", sample_weight=weight))


def _one_by_one(function: str, problem: str, target: Array, given: Array, weight: Weight) -> float:
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


def _log_loss(problem: str, target: Array, given: Array, weight: Weight) -> float:
    chance = np.clip(given, 1e-15, 1.0)
    if problem == "multilabel":
        other = np.clip(1.0 - given, 1e-15, 1.0)
        loss = -(target * np.log(chance) + (1 - target) * np.log(other)).mean(axis=1)
    else:
        loss = -np.log(chance[np.arange(len(target)), target])
    return float(np.average(loss, weights=weight))


def _brier(problem: str, target: Array, given: Array, weight: Weight) -> float:
    """Return the squared error of probabilities (Brier 1950): of two classes that of one, of more the sum over them."""
    if problem == "multilabel":
        errors = ((given - target) ** 2).mean(axis=1)
    elif problem == "binary":
        errors = (given[:, 1] - target) ** 2
    else:
        errors = ((given - np.eye(given.shape[1])[target]) ** 2).sum(axis=1)
    return float(np.average(errors, weights=weight))


def _calibration_error(_problem: str, target: Array, given: Array, weight: Weight) -> float:
    """Return the expected calibration error of the most probable class (Guo et al., ICML 2017)."""
    weight = np.ones(len(target)) if weight is None else weight
    confidence, right = given.max(axis=1), given.argmax(axis=1) == target
    place = np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)
    gaps = np.bincount(place, weights=weight * (right - confidence), minlength=BINS)
    return float(np.abs(gaps).sum() / weight.sum())


def _top_k(k: int, _problem: str, target: Array, given: Array, weight: Weight) -> float:
    first = np.argsort(given, axis=1, kind="stable")[:, ::-1][:, :k]
    return float(np.average((first == np.asarray(target)[:, None]).any(axis=1), weights=weight))


def _one_against_rest(average: str, problem: str, target: Array, given: Array, weight: Weight) -> float:
    """Return ROC AUC of each class against the rest, averaged by their rows; or over all pairs of row and class."""
    from sklearn.metrics import roc_auc_score

    truth = target > 0.5 if problem == "multilabel" else np.eye(given.shape[1], dtype=bool)[target]
    each = np.ones(len(truth)) if weight is None else weight
    if average == "micro":
        repeated = np.repeat(each, truth.shape[1])
        both = truth.any() and not truth.all()
        return float(roc_auc_score(truth.ravel(), given.ravel(), sample_weight=repeated)) if both else math.nan
    kept = [k for k in range(truth.shape[1]) if truth[:, k].any() and not truth[:, k].all()]
    if not kept:
        return math.nan
    values = [roc_auc_score(truth[:, k], given[:, k], sample_weight=weight) for k in kept]
    return float(np.average(values, weights=each @ truth[:, kept]))


def _one_against_one(average: str, _problem: str, target: Array, given: Array, weight: Weight) -> float:
    """Return ROC AUC over pairs of classes that occur (Hand and Till 2001)."""
    from sklearn.metrics import roc_auc_score

    each = np.ones(len(target)) if weight is None else weight
    present = np.unique(target[each > 0])
    values, shares = [], []
    for place, one in enumerate(present):
        for other in present[place + 1 :]:
            rows = ((target == one) | (target == other)) & (each > 0)
            sides = [
                roc_auc_score(target[rows] == side, given[rows, side], sample_weight=each[rows])
                for side in (one, other)
            ]
            values.append(float(np.mean(sides)))
            shares.append(float(each[rows].sum()) if average == "weighted" else 1.0)
    return float(np.average(values, weights=shares)) if values else math.nan


def _kappa(_problem: str, target: Array, given: Array, weight: Weight) -> float:
    from sklearn.metrics import cohen_kappa_score

    if len(np.unique(np.concatenate([target, given]))) < 2:
        return math.nan
    return float(cohen_kappa_score(target, given, sample_weight=weight))


def _specificity(_problem: str, target: Array, given: Array, weight: Weight) -> float:
    from sklearn.metrics import recall_score

    return float(recall_score(target, given, pos_label=0, sample_weight=weight, zero_division=0))


CLASS_METRICS: dict[str, Computed] = {
    "accuracy": Computed("prediction", _accuracy),
    "balanced_accuracy": Computed("prediction", _balanced_accuracy),
    "roc_auc": Computed("probability", partial(_one_by_one, "roc_auc_score")),
    "roc_auc_ovr_weighted": Computed("probability", partial(_one_against_rest, "weighted")),
    "roc_auc_ovr_micro": Computed("probability", partial(_one_against_rest, "micro")),
    "roc_auc_ovo": Computed("probability", partial(_one_against_one, "macro")),
    "roc_auc_ovo_weighted": Computed("probability", partial(_one_against_one, "weighted")),
    "average_precision": Computed("probability", partial(_one_by_one, "average_precision_score")),
    "log_loss": Computed("probability", _log_loss),
    "brier": Computed("probability", _brier),
    "ece": Computed("probability", _calibration_error),
    "mcc": Computed("prediction", _mcc),
    "kappa": Computed("prediction", _kappa),
    "quadratic_kappa": Computed("prediction", _quadratic_kappa),
    "hamming_loss": Computed("prediction", _hamming),
    "specificity": Computed("prediction", _specificity),
}
for _stem in ("f1", "precision", "recall", "jaccard"):
    CLASS_METRICS[_stem] = Computed("prediction", partial(_sklearn_prf, f"{_stem}_score", "binary"))
    for _average in ("macro", "micro", "weighted"):
        CLASS_METRICS[f"{_stem}_{_average}"] = Computed("prediction", partial(_sklearn_prf, f"{_stem}_score", _average))
