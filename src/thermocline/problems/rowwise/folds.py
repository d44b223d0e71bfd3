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
NEWTON_STEPS = 30
SMALLEST_STEP = 1e-2  # relative to the slopes
PENALTY = 0.03  # of a slope's square, beside the sum of the losses
MIDDLE = 0.5  # of classes as 0 and 1
SHARES_ALONE = np.array([0.0, 1.0])  # slopes, where features tell nothing
SMOOTHING = 0.5  # rows that each class has besides those that were seen


@dataclass(frozen=True)
class RowFolds:
    """Scores features by ridge regressions of k folds: see `contracts.probing.LinearFolds`.

    The regressions predict classes as 0 and 1. What they say, and the logits of the classes' shares, become logits by a
    factor each, which are fitted on the other folds, as the penalty is chosen there.

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
        weight = np.ones(len(train)) if train.weight is None else train.weight.astype(np.float64)
        return cls(replace(target, loss=None), train.target, weight, seed)  # of numbers the regressions give means

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
        outputs, slopes = np.empty_like(self._wanted), SHARES_ALONE
        for own in self._held:
            others = self.weight * ~own
            best = int(np.argmin([np.average(one, weights=others) for one in errors]))
            outputs[own], slopes = self._calibrated(tried[best], own, slopes)
        return outputs

    def _constants(self) -> np.ndarray:
        """Return the outputs without features: the mean, or the logits of the classes' shares, of the other folds."""
        outputs = np.empty_like(self._wanted)
        for own in self._held:
            others, weight = self._wanted[~own], self.weight[~own]
            number = self.target.problem_type == "regression"
            outputs[own] = np.average(others, axis=0, weights=weight) if number else self._shares(own)
        return outputs

    def _shares(self, own: np.ndarray) -> np.ndarray:
        """Return the logits of the classes' shares among the rows outside of a fold, `(outputs,)`."""
        several = self.target.loss_name == "bce"
        wanted, weight = self._wanted[~own], self.weight[~own] / self.weight[~own].mean()
        counts = (weight[:, None] * wanted).sum(axis=0) + SMOOTHING
        shares = counts / (len(wanted) + 2 * SMOOTHING if several else counts.sum())
        return np.asarray(logit(shares) if several else np.log(shares))

    def _calibrated(self, given: np.ndarray, own: np.ndarray, start: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return outputs of a fold as logits, or numbers as they are, and the slopes, which the other folds decide.

        Args:
            given: What the linear models give for all rows.
            own: Which rows are in the fold.
            start: Slopes to begin with.
        """
        if self.target.problem_type == "regression":
            return np.asarray(given[own]), start
        several, weight = self.target.loss_name == "bce", self.weight[~own]
        base = np.broadcast_to(self._shares(own), given.shape)
        parts = given - MIDDLE, base
        others = parts[0][~own], base[~own]
        slopes = _slopes(others, self._wanted[~own], weight / weight.mean(), start, several=several)
        return _sum(slopes, (parts[0][own], base[own])), slopes

    def _losses(self, outputs: np.ndarray) -> np.ndarray:
        """Return the loss of each row, float64 `(rows,)`; of several labels the mean over them."""
        wanted = self._wanted
        if self.target.problem_type == "regression":
            mean = np.average(wanted, axis=0, weights=self.weight)
            variance = float(np.average(((wanted - mean) ** 2).sum(axis=1), weights=self.weight))
            return np.asarray(((outputs - wanted) ** 2).sum(axis=1) / variance)
        several = self.target.loss_name == "bce"
        return _log_losses(outputs, wanted, several=several) / (wanted.shape[1] if several else 1)


def _slopes(
    parts: tuple[np.ndarray, np.ndarray], wanted: np.ndarray, weight: np.ndarray, start: np.ndarray, *, several: bool
) -> np.ndarray:
    """Return by what two parts are multiplied so that their sum is logits: that of the least log-loss.

    It is found by Newton's method, with a small penalty on what differs from the logits of the shares.

    Args:
        parts: Outputs of a linear model and logits of the classes' shares `(rows, outputs)` each.
        wanted: Classes as 0 and 1 `(rows, outputs)`.
        weight: Row weights.
        start: Where to begin.
        several: Whether each output is a label of its own.
    """

    def loss(slopes: np.ndarray) -> float:
        each = _log_losses(_sum(slopes, parts), wanted, several=several)
        return float(weight @ each + 0.5 * PENALTY * ((slopes - SHARES_ALONE) ** 2).sum())

    slopes, now = start, loss(start)
    for _ in range(NEWTON_STEPS):
        logits = _sum(slopes, parts)
        given = expit(logits) if several else softmax(logits, axis=1)
        first = np.array([weight @ ((given - wanted) * one).sum(axis=1) for one in parts])
        second = np.array(
            [[weight @ _curvature(given, one, other, several=several) for other in parts] for one in parts]
        )
        step = np.linalg.solve(second + PENALTY * np.eye(2), first + PENALTY * (slopes - SHARES_ALONE))
        least = SMALLEST_STEP * (1.0 + np.abs(slopes).max())
        while (after := loss(slopes - step)) > now and np.abs(step).max() > least:
            step = step / 2
        if after > now:
            break
        slopes, now = slopes - step, after
        if np.abs(step).max() <= least:
            break
    return slopes


def _sum(slopes: np.ndarray, parts: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    return np.asarray(slopes[0] * parts[0] + slopes[1] * parts[1])


def _curvature(given: np.ndarray, one: np.ndarray, other: np.ndarray, *, several: bool) -> np.ndarray:
    """Return the second derivative of each row's log-loss by the slopes of two parts, `(rows,)`."""
    if several:
        return np.asarray((given * (1 - given) * one * other).sum(axis=1))
    return np.asarray((given * one * other).sum(axis=1) - (given * one).sum(axis=1) * (given * other).sum(axis=1))


def _log_losses(logits: np.ndarray, wanted: np.ndarray, *, several: bool) -> np.ndarray:
    """Return the log-loss of each row, float64 `(rows,)`, summed over labels."""
    if several:
        return np.asarray((np.logaddexp(0.0, logits) - wanted * logits).sum(axis=1))
    return np.asarray(np.logaddexp.reduce(logits, axis=1) - (wanted * logits).sum(axis=1))
