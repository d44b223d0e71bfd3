"""Linear models of features by folds: the log-loss of classes, the squared error of numbers, and the metric."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from scipy.special import expit, logit, softmax

from thermocline.contracts.probing import FoldScores
from thermocline.data.batches import Rows
from thermocline.errors import LabelError, counted
from thermocline.problems.rowwise.fold_ridge import FoldRidge
from thermocline.problems.rowwise.metrics import score
from thermocline.problems.rowwise.probe import tells_apart
from thermocline.problems.rowwise.probe_rows import drawn_rows, groups_of
from thermocline.problems.rowwise.target import RowTarget

FOLDS = 5
FOLD_STREAM = 0xF01D
NEWTON_STEPS = 15
FIRST_SLOPE, MOST_SLOPE = 4.0, 100.0
LARGEST_CHANGE = 4.0  # of the slope in a step, as a factor
SMOOTHING = 0.5  # rows that each class has besides those that were seen


@dataclass(frozen=True)
class RowFolds:
    """Scores features by ridge regressions of k folds: see `contracts.probing.LinearFolds`.

    The regressions predict classes as 0 and 1. What they say becomes a probability by one slope that is fitted on the
    other folds, as is the penalty.

    Attributes:
        target: What the label asks for.
        encoded: Encoded labels of the rows.
        weight: Row weights float64 `(rows,)`.
        seed: For the rows that are drawn, and the folds.
    """

    target: RowTarget
    encoded: np.ndarray = field(repr=False)
    weight: np.ndarray = field(repr=False)
    seed: int

    @classmethod
    def of(cls, target: RowTarget, train: Rows, seed: int) -> RowFolds:
        """Return the folds of training rows."""
        assert train.target is not None
        return cls(target, train.target, train.weights.astype(np.float64), seed)

    @property
    def loss_name(self) -> str:
        """`log-loss`, or `error / variance`: the squared error, relative to the label's variance."""
        return "error / variance" if self.target.problem_type == "regression" else "log-loss"

    @property
    def metric_name(self) -> str:
        """The metric that validation uses."""
        return self.target.eval_metric

    @property
    def folds(self) -> int:
        """How many there are: five, or as many as there are rows."""
        return min(FOLDS, len(self.encoded))

    def draw(self, most: int) -> np.ndarray:
        """Return sorted positions of at most so many rows, those of weight 0 left out, classes in proportion."""
        there = np.flatnonzero(self.weight > 0)
        return drawn_rows(self.target, self.encoded, there, most, self.seed)

    def over(self, rows: np.ndarray) -> RowFolds:
        """Return the same for some of the rows.

        Raises:
            LabelError: All of these rows have the same label.
        """
        if not tells_apart(self.encoded[rows]):
            raise LabelError(
                f"Probes need training rows with two different labels, and {counted(len(rows), 'row')} with a weight "
                "above 0 show one. Give more rows."
            )
        return replace(self, encoded=self.encoded[rows], weight=self.weight[rows])

    def score(self, blocks: Sequence[np.ndarray]) -> FoldScores:
        """Score features of the rows; see `LinearFolds.score`."""
        from threadpoolctl import threadpool_limits
        from torch import get_num_threads

        with threadpool_limits(get_num_threads()):
            outputs = self._outputs(blocks)
        metrics = [
            score(self.target, self.metric_name, self.encoded[own], outputs[own], self.weight[own])[self.metric_name]
            for own in self._held
        ]
        return FoldScores(self._losses(outputs), self.weight, np.array(metrics))

    # -- the folds

    @cached_property
    def _fold(self) -> np.ndarray:
        """The fold of each row, int64 `(rows,)`: classes are spread over the folds as evenly as their rows allow."""
        order = np.random.default_rng([self.seed, FOLD_STREAM]).permutation(len(self.encoded))
        group = groups_of(self.target, self.encoded)
        fold = np.empty(len(order), dtype=np.int64)
        fold[order[np.argsort(group[order], kind="stable")]] = np.arange(len(order)) % self.folds
        return fold

    @cached_property
    def _held(self) -> list[np.ndarray]:
        return [self._fold == number for number in range(self.folds)]

    @cached_property
    def _wanted(self) -> np.ndarray:
        """What is predicted, float64 `(rows, outputs)`, classes as 0 and 1."""
        if self.target.loss_name == "cross_entropy":
            return np.asarray(np.eye(self.target.width)[self.encoded])
        return self.encoded.astype(np.float64)

    # -- what the models give

    def _outputs(self, blocks: Sequence[np.ndarray]) -> np.ndarray:
        """Return for each row the output of a model of the other folds, float64 `(rows, outputs)`."""
        if not blocks:
            return self._constants()
        ridge = FoldRidge(blocks, self._wanted, self.weight, self._fold)
        tried = ridge.tried(self.weight)
        errors = [((self._wanted - one) ** 2).sum(axis=1) for one in tried]
        outputs = np.empty_like(self._wanted)
        for own in self._held:
            others = self.weight * ~own
            best = int(np.argmin([np.average(one, weights=others) for one in errors]))
            outputs[own] = self._calibrated(tried[best], own)
        return outputs

    def _constants(self) -> np.ndarray:
        """Return the outputs without features: the mean, or the logits of the classes' shares, of the other folds."""
        outputs = np.empty_like(self._wanted)
        for own in self._held:
            others, weight = self._wanted[~own], self.weight[~own]
            number = self.target.problem_type == "regression"
            outputs[own] = np.average(others, axis=0, weights=weight) if number else self._shares(own)[1]
        return outputs

    def _shares(self, own: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the shares of the classes among the rows outside of a fold, and their logits, `(outputs,)` each."""
        several = self.target.loss_name == "bce"
        wanted, weight = self._wanted[~own], self.weight[~own] / self.weight[~own].mean()
        counts = (weight[:, None] * wanted).sum(axis=0) + SMOOTHING
        shares = counts / (len(wanted) + 2 * SMOOTHING if several else counts.sum())
        return shares, logit(shares) if several else np.log(shares)

    def _calibrated(self, given: np.ndarray, own: np.ndarray) -> np.ndarray:
        """Return outputs of a fold as logits, or numbers as they are; what is fitted is fitted on the other folds."""
        if self.target.problem_type == "regression":
            return np.asarray(given[own])
        shares, base = self._shares(own)
        several = self.target.loss_name == "bce"
        slope = _slope(given[~own] - shares, base, self._wanted[~own], self.weight[~own], several=several)
        return np.asarray(slope * (given[own] - shares) + base)

    def _losses(self, outputs: np.ndarray) -> np.ndarray:
        """Return the loss of each row, float64 `(rows,)`; of several labels the mean over them."""
        wanted = self._wanted
        if self.target.problem_type == "regression":
            mean = np.average(wanted, axis=0, weights=self.weight)
            variance = float(np.average(((wanted - mean) ** 2).sum(axis=1), weights=self.weight))
            return np.asarray(((outputs - wanted) ** 2).sum(axis=1) / variance)
        if self.target.loss_name == "bce":
            return np.asarray((np.logaddexp(0.0, outputs) - wanted * outputs).mean(axis=1))
        return np.asarray(np.logaddexp.reduce(outputs, axis=1) - (wanted * outputs).sum(axis=1))


def _slope(x: np.ndarray, base: np.ndarray, wanted: np.ndarray, weight: np.ndarray, *, several: bool) -> float:
    """Return by what a linear model's outputs are multiplied to be logits beside the logits of the classes' shares.

    It minimises the log-loss, by Newton's method on a convex function of one number.

    Args:
        x: Outputs `(rows, outputs)`, less the classes' shares.
        base: Logits of the shares `(outputs,)`.
        wanted: Classes as 0 and 1 `(rows, outputs)`.
        weight: Row weights.
        several: Whether each output is a label of its own.
    """
    slope = FIRST_SLOPE
    for _ in range(NEWTON_STEPS):
        given = expit(slope * x + base) if several else softmax(slope * x + base, axis=1)
        first = float(weight @ ((given - wanted) * x).sum(axis=1))
        if several:
            second = float(weight @ (given * (1 - given) * x**2).sum(axis=1))
        else:
            second = float(weight @ ((given * x**2).sum(axis=1) - (given * x).sum(axis=1) ** 2))
        wished = slope - first / max(second, 1e-12)
        after = float(np.clip(wished, slope / LARGEST_CHANGE, min(slope * LARGEST_CHANGE, MOST_SLOPE)))
        if abs(after - slope) < 1e-4 * slope:
            break
        slope = after
    return slope
