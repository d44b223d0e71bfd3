"""Scores of pairs: of cosines against labels, and of search among their responses."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch

from thermocline.problems.similarity.info import OF_CLASSES, OF_GRADES
from thermocline.problems.similarity.retrieval import Ranked
from thermocline.problems.similarity.target import PairTarget, cosines_of

MIDDLE = 0.5


def score_pairs(
    target: PairTarget,
    metrics: Sequence[str],
    outputs: np.ndarray,
    encoded: np.ndarray,
    weight: np.ndarray | None,
    device: torch.device,
) -> dict[str, float]:
    """Return metrics of pairs; NaN where one is not defined. Row weights count in those of pairs, not of search.

    Args:
        target: What the label asks for; its threshold counts, or is looked for where it is None.
        metrics: Their canonical names.
        outputs: Embeddings of query and response, float32 `(rows, 2 * width)`.
        encoded: Values and contents `(rows, 1 + sides)`.
        weight: Row weights, or None.
        device: Where search is computed.
    """
    cosines, value = cosines_of(outputs), encoded[:, 0]
    found: dict[str, float] = {}
    ranked: Ranked | None = None
    for name in metrics:
        if name in OF_GRADES:
            found[name] = _correlation(name, cosines, value, weight)
        elif name in OF_CLASSES:
            found[name] = of_classes(name, target, cosines, value, weight)
        else:
            if ranked is None:
                ranked = Ranked.of(outputs.reshape(len(outputs), 2, -1), encoded[:, 1:3], value > 0, device)
            found[name] = ranked.score(name)
    return found


def of_classes(
    name: str, target: PairTarget, cosines: np.ndarray, value: np.ndarray, weight: np.ndarray | None
) -> float:
    """Return a metric of pairs that match and others; NaN where there is one class only."""
    from sklearn import metrics

    if len(np.unique(value)) < 2:
        return math.nan
    truth = value > 0
    ranks: dict[str, Callable[..., float]] = {
        "roc_auc": metrics.roc_auc_score,
        "average_precision": metrics.average_precision_score,
    }
    if name in ranks:
        return float(ranks[name](truth, cosines, sample_weight=weight))
    called = target.called(cosines)
    threshold = best_threshold(name, called, truth, weight) if target.threshold is None else target.threshold
    of: dict[str, Callable[..., float]] = {
        "accuracy": metrics.accuracy_score,
        "f1": metrics.f1_score,
        "precision": metrics.precision_score,
        "recall": metrics.recall_score,
    }
    more = {} if name == "accuracy" else {"zero_division": 0.0}
    return float(of[name](truth, called > threshold, sample_weight=weight, **more))


def best_threshold(metric: str, called: np.ndarray, truth: np.ndarray, weight: np.ndarray | None) -> float:
    """Return the probability above which pairs are best called matches, by accuracy, else by f1.

    It lies midway between the probabilities of two pairs; of equally good ones it is the one next to a half.

    Args:
        metric: `accuracy`; any other means f1.
        called: Probabilities `(rows,)`.
        truth: Which pairs match `(rows,)`.
        weight: Row weights, or None.
    """
    weight = np.ones(len(called)) if weight is None else weight.astype(np.float64)
    order = np.argsort(called, kind="stable")
    called, yes, no = called[order], (weight * truth)[order], (weight * ~truth)[order]
    hits = np.append(yes[::-1].cumsum()[::-1], 0.0)  # called a match from this one on
    wrong = np.append(no[::-1].cumsum()[::-1], 0.0)
    edges = np.concatenate([[0.0], (called[:-1] + called[1:]) / 2, [1.0]])
    possible = np.concatenate([[True], called[1:] > called[:-1], [True]])
    if metric == "accuracy":
        values = hits + no.sum() - wrong
    else:
        values = 2 * hits / np.maximum(hits + wrong + yes.sum(), 1e-30)
    values = np.where(possible, values, -np.inf)
    best = np.flatnonzero(values >= values.max() - 1e-12)
    return float(edges[best[np.argmin(np.abs(edges[best] - MIDDLE))]])


def _correlation(name: str, cosines: np.ndarray, value: np.ndarray, weight: np.ndarray | None) -> float:
    """Return Pearson's correlation, of ranks for Spearman's; NaN where all are the same."""
    from scipy.stats import rankdata

    x, y = (cosines, value) if name == "pearson" else (rankdata(cosines), rankdata(value))
    weight = np.ones(len(x)) if weight is None else weight.astype(np.float64)
    if len(x) < 2 or not weight.sum() > 0:
        return math.nan
    x, y = x - np.average(x, weights=weight), y - np.average(y, weights=weight)
    scale = math.sqrt(float((weight * x * x).sum()) * float((weight * y * y).sum()))
    return float((weight * x * y).sum()) / scale if scale > 0 else math.nan
