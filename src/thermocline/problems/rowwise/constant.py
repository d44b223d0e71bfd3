"""What the labels alone say: shares of classes, the range of numbers, and what predicts the same for every row."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd

from thermocline.contracts.baseline import Baseline
from thermocline.data.batches import Rows
from thermocline.problems.rowwise.metrics import score
from thermocline.problems.rowwise.target import MIDDLE, RowTarget

_MOST_NAMED = 8  # classes

UNSEEN = 1e-6
"""Share of a class that no training row has."""


def constant_baseline(target: RowTarget, train: Rows, valid: Rows) -> Baseline | None:
    """Return the score of the shares of the classes among the training rows, or of the mean, on the validation rows.

    Probabilities are the shares, so that the class is the most frequent one; of two classes the threshold is a half.

    Args:
        target: What the label asks for.
        train: Training rows, labelled.
        valid: Validation rows, labelled.

    Returns:
        None where the metric is not defined on such predictions, or where outputs are quantiles.
    """
    outputs = _outputs(target, train)
    if outputs is None or train.target is None or valid.target is None or not len(valid):
        return None
    plain = uncalibrated(target)
    metric = target.metric or target.eval_metric
    every = np.tile(outputs.astype(np.float32), (len(valid), 1))
    try:
        value = score(plain, [metric], valid.target, every, valid.weight)[target.eval_metric]
    except Exception:
        if target.metric is None:
            raise
        return None  # a metric of the caller's own that cannot score them
    names = {"regression": "the mean", "multilabel": "the shares of the labels"}
    name = names.get(target.problem_type, "the majority class")
    return Baseline(name, float(value)) if math.isfinite(value) else None


def _outputs(target: RowTarget, train: Rows) -> np.ndarray | None:
    """Return the outputs float64 `(width,)` of a model that predicts the same for every row."""
    if train.target is None or not len(train):
        return None
    weight = np.ones(len(train)) if train.weight is None else train.weight.astype(np.float64)
    if target.problem_type == "regression":
        return None if target.levels else np.average(train.target.astype(np.float64), axis=0, weights=weight)
    return share_outputs(target, class_shares(target, train.target, weight), UNSEEN)


def uncalibrated(target: RowTarget) -> RowTarget:
    """Return a target that takes outputs as they are, with a threshold of a half between two classes."""
    return replace(target, temperature=1.0, threshold=MIDDLE if target.problem_type == "binary" else None)


def class_shares(target: RowTarget, encoded: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return the share of the rows float64 `(classes or labels,)` that each class or label has.

    Args:
        target: Of classes or labels.
        encoded: Class numbers `(rows,)`, or `(rows, labels)` of 0 and 1.
        weight: Row weights float64 `(rows,)`.
    """
    if target.problem_type == "multilabel":
        return np.asarray(np.average(encoded.astype(np.float64), axis=0, weights=weight))
    counts = np.bincount(encoded, weights=weight, minlength=target.width)
    return np.asarray(counts / counts.sum())


def share_outputs(target: RowTarget, shares: np.ndarray, least: float) -> np.ndarray:
    """Return the outputs whose probabilities are these shares; none is below `least`, as its logarithm is taken."""
    if target.problem_type == "multilabel":
        kept = shares.clip(least, 1 - least)
        return np.asarray(np.log(kept) - np.log1p(-kept))
    return np.asarray(np.log(shares.clip(least)))


def labels_in_words(frame: pd.DataFrame, target: RowTarget) -> str:
    """Return the classes with their shares of the rows, or the range of the numbers.

    Args:
        frame: Training rows.
        target: What the label asks for.
    """
    if target.problem_type == "regression":
        numbers = target.quantities(frame)
        return f"from {numbers.min():.4g} to {numbers.max():.4g}, mean {numbers.mean():.4g}"
    encoded = target.encode(frame)
    counts = encoded.sum(axis=0) if encoded.ndim > 1 else np.bincount(encoded, minlength=target.width)
    order = np.argsort(-counts, kind="stable")
    named = [f"{target.classes[i]} {100 * counts[i] / max(len(frame), 1):.3g} %" for i in order[:_MOST_NAMED]]
    more = f" and {len(order) - _MOST_NAMED} more" if len(order) > _MOST_NAMED else ""
    return ", ".join(named) + more
