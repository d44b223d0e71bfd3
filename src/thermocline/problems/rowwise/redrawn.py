"""Metrics of rows that are drawn again and again, computed for many draws at once where that is possible.

What metrics need is added up over the rows of all draws by one product: of classes and labels the rows that are right,
wrongly said and missed; of numbers the errors and their squares. Rankings are computed along rows sorted once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from thermocline.contracts.reporting import Redrawn
from thermocline.problems.rowwise.metrics import given_of, score
from thermocline.problems.rowwise.target import RowTarget
from thermocline.registry.metrics import Metric

_RATIOS = ("f1", "precision", "recall", "jaccard")


@dataclass(frozen=True)
class Scored:
    """Encoded labels and outputs of rows.

    Attributes:
        target: What encoded the labels.
        encoded: Encoded labels.
        outputs: Raw outputs `(rows, width)`.
        weight: Row weights `(rows,)`, or None.
    """

    target: RowTarget
    encoded: np.ndarray
    outputs: np.ndarray
    weight: np.ndarray | None = None

    @cached_property
    def given(self) -> tuple[np.ndarray, dict[str, Callable[[], np.ndarray]]]:
        """What is true and what is given for it, as metrics take them; the positive class of two is number 1."""
        return given_of(self.target, self.encoded, np.asarray(self.outputs, dtype=np.float64))

    @cached_property
    def truth(self) -> np.ndarray:
        """What is true: class numbers `(rows,)`, 0 and 1 `(rows, labels)`, or numbers `(rows, 1)` in their units."""
        return np.asarray(self.given[0])

    @cached_property
    def chosen(self) -> np.ndarray:
        """What is predicted, of the form of `truth`."""
        return self.given[1]["prediction"]()

    @cached_property
    def chances(self) -> np.ndarray:
        """Probabilities `(rows, classes or labels)`."""
        return self.given[1]["probability"]()

    def sides(self) -> tuple[np.ndarray, np.ndarray]:
        """Return which classes or labels are true and which are predicted, bool `(rows, classes)` each."""
        if self.truth.ndim == 2:
            return self.truth > 0.5, self.chosen > 0.5
        every = np.arange(self.target.width)
        return self.truth[:, None] == every, self.chosen[:, None] == every


def redrawn_of(rows: Scored, metrics: Sequence[str | Metric]) -> Redrawn:
    """Return how drawn rows are scored.

    Args:
        rows: The rows.
        metrics: Names of metrics, or metrics of the caller's own, which are computed draw by draw.
    """
    fast = _fast_of(rows)
    names = [one if isinstance(one, str) else one.name for one in metrics]

    def compute(counts: np.ndarray, asked: Sequence[str | Metric]) -> Mapping[str, np.ndarray]:
        weights = counts.astype(np.float64) if rows.weight is None else counts * rows.weight
        sums = _Sums(rows, weights)
        found: dict[str, np.ndarray] = {}
        for one in asked:
            name = one if isinstance(one, str) else one.name
            with np.errstate(divide="ignore", invalid="ignore"):
                found[name] = fast[name](sums) if name in fast else _one_by_one(rows, one, counts)
        return found

    wide = rows.target.width if rows.target.problem_type in ("multiclass", "multilabel") else 1
    ranked = {"roc_auc", "average_precision"} & set(names)
    size = len(rows.encoded) * (max(1, wide) if ranked else 1)
    return Redrawn(compute, frozenset(names) - fast.keys(), size)


def _one_by_one(rows: Scored, metric: str | Metric, counts: np.ndarray) -> np.ndarray:
    """Score each draw by itself, its rows repeated as often as they were drawn."""
    name = metric if isinstance(metric, str) else metric.name
    values = []
    for row in counts:
        drawn = np.repeat(np.arange(len(row)), row)
        weight = None if rows.weight is None else rows.weight[drawn]
        values.append(score(rows.target, metric, rows.encoded[drawn], rows.outputs[drawn], weight)[name])
    return np.array(values)


class _Sums:
    """Sums over the rows of each draw, made as they are asked for.

    Args:
        rows: The rows.
        weights: What each row counts in each draw, float64 `(draws, rows)`.
    """

    def __init__(self, rows: Scored, weights: np.ndarray) -> None:
        self.rows, self.weights = rows, weights
        self.total = weights.sum(axis=1)

    def mean(self, values: np.ndarray) -> np.ndarray:
        """Return means of a number of each row, `(draws,)`."""
        return np.asarray(self.weights @ values / self.total)

    @cached_property
    def ratios(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of each class the weights of rows that are right, wrongly said and missed, `(draws, classes)` each."""
        from scipy.sparse import csr_array

        true, said = self.rows.sides()
        parts = [csr_array(one.astype(np.float64)) for one in (true & said, ~true & said, true & ~said)]
        right, wrong, missed = (np.asarray((part.T @ self.weights.T).T) for part in parts)
        return right, wrong, missed


def _ratio(name: str, right: np.ndarray, wrong: np.ndarray, missed: np.ndarray) -> np.ndarray:
    below = {
        "f1": right + (wrong + missed) / 2,
        "precision": right + wrong,
        "recall": right + missed,
        "jaccard": right + wrong + missed,
    }[name]
    return np.asarray(np.where(below > 0, right / np.where(below > 0, below, 1.0), 0.0))


def _averaged(name: str, average: str, sums: _Sums) -> np.ndarray:
    """Return a ratio of one class, or averaged over classes as in scikit-learn."""
    right, wrong, missed = sums.ratios
    if average == "binary":
        return _ratio(name, right[:, 1], wrong[:, 1], missed[:, 1])
    if average == "micro":
        return _ratio(name, right.sum(axis=1), wrong.sum(axis=1), missed.sum(axis=1))
    values = _ratio(name, right, wrong, missed)
    if average == "weighted":
        share = right + missed
    else:  # of classes, those that are there; of labels all
        share = ((right + wrong + missed > 0) | (sums.rows.truth.ndim == 2)).astype(np.float64)
    return np.asarray((values * share).sum(axis=1) / share.sum(axis=1))


def _balanced_accuracy(sums: _Sums) -> np.ndarray:
    right, _, missed = sums.ratios
    there = right + missed > 0
    return np.asarray((_ratio("recall", right, missed, missed) * there).sum(axis=1) / there.sum(axis=1))


def _accuracy(sums: _Sums) -> np.ndarray:
    same = sums.rows.truth == sums.rows.chosen
    return sums.mean((same.all(axis=1) if same.ndim == 2 else same).astype(np.float64))


def _log_losses(rows: Scored) -> np.ndarray:
    chances = np.clip(rows.chances, 1e-15, 1.0)
    if rows.truth.ndim == 2:
        others = np.clip(1.0 - rows.chances, 1e-15, 1.0)
        return np.asarray(-(rows.truth * np.log(chances) + (1 - rows.truth) * np.log(others)).mean(axis=1))
    return np.asarray(-np.log(chances[np.arange(len(rows.truth)), rows.truth]))


def log_losses(rows: Scored) -> np.ndarray:
    """Return the log-loss of each row, float64 `(rows,)`; of several labels their mean."""
    return _log_losses(rows)


# -- rankings


def _ranked(metric: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray], sums: _Sums) -> np.ndarray:
    """Return a metric of a ranking, averaged over the classes or labels that it is defined for."""
    rows = sums.rows
    true, _ = rows.sides()
    places = [1] if rows.target.problem_type == "binary" else range(rows.target.width)
    values = np.stack([metric(true[:, k], rows.chances[:, k], sums.weights) for k in places])
    there = np.isfinite(values)
    return np.asarray(np.where(there, values, 0.0).sum(axis=0) / there.sum(axis=0))


def _groups(chance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return rows from the highest chance to the lowest, and where each group of equal ones begins."""
    order = np.argsort(-chance, kind="stable")
    return order, np.flatnonzero(np.diff(chance[order], prepend=np.inf) != 0)


def _roc_auc(true: np.ndarray, chance: np.ndarray, weights: np.ndarray) -> np.ndarray:
    order, begins = _groups(chance)
    sorted_weights = weights[:, order]
    yes = np.add.reduceat(sorted_weights * true[order], begins, axis=1)
    no = np.add.reduceat(sorted_weights * ~true[order], begins, axis=1)
    below = no.sum(axis=1, keepdims=True) - no.cumsum(axis=1)
    return np.asarray((yes * (below + no / 2)).sum(axis=1) / (yes.sum(axis=1) * no.sum(axis=1)))


def _average_precision(true: np.ndarray, chance: np.ndarray, weights: np.ndarray) -> np.ndarray:
    order, begins = _groups(chance)
    sorted_weights = weights[:, order]
    yes = np.add.reduceat(sorted_weights * true[order], begins, axis=1)
    every = np.add.reduceat(sorted_weights, begins, axis=1).cumsum(axis=1)
    precision = np.where(every > 0, yes.cumsum(axis=1) / np.where(every > 0, every, 1.0), 0.0)
    return np.asarray((yes * precision).sum(axis=1) / yes.sum(axis=1))


# -- which there are


def _fast_of(rows: Scored) -> dict[str, Callable[[_Sums], np.ndarray]]:
    """Return the metrics that are computed for many draws at once."""
    if rows.target.problem_type == "regression":
        return _of_numbers(rows)
    losses = _log_losses(rows)
    found: dict[str, Callable[[_Sums], np.ndarray]] = {
        "accuracy": _accuracy,
        "log_loss": lambda sums: sums.mean(losses),
        "roc_auc": lambda sums: _ranked(_roc_auc, sums),
        "average_precision": lambda sums: _ranked(_average_precision, sums),
    }
    if rows.target.problem_type != "multilabel":
        found["balanced_accuracy"] = _balanced_accuracy
    for name in _RATIOS:
        averages = ("macro", "micro", "weighted")
        found |= {f"{name}_{one}": _bound(name, one) for one in averages}
        if rows.target.problem_type == "binary":
            found[name] = _bound(name, "binary")
    return found


def _bound(name: str, average: str) -> Callable[[_Sums], np.ndarray]:
    return lambda sums: _averaged(name, average, sums)


def _of_numbers(rows: Scored) -> dict[str, Callable[[_Sums], Any]]:
    truth, error = rows.truth[:, 0], rows.truth[:, 0] - rows.chosen[:, 0]
    middle = truth - truth.mean()  # of shifted numbers the variance is exact

    def r2(sums: _Sums) -> np.ndarray:
        spread = sums.mean(middle**2) - sums.mean(middle) ** 2
        return np.asarray(np.where(spread > 0, 1.0 - sums.mean(error**2) / spread, np.nan))

    return {
        "mae": lambda sums: sums.mean(np.abs(error)),
        "mse": lambda sums: sums.mean(error**2),
        "rmse": lambda sums: np.sqrt(sums.mean(error**2)),
        "r2": r2,
    }
