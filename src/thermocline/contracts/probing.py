"""Linear models of features, scored by folds: how much of the label is in the outputs of a layer or a tower."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np


@dataclass(frozen=True)
class FoldScores:
    """What linear models of the other folds give for each row.

    Attributes:
        losses: Of each row, float64 `(rows,)`; less is better.
        weight: Row weights float64 `(rows,)`.
        metrics: The metric on each fold, in its own direction; NaN where it is not defined.
    """

    losses: np.ndarray
    weight: np.ndarray
    metrics: np.ndarray

    @property
    def loss(self) -> float:
        """The mean loss of a row."""
        return float(np.average(self.losses, weights=self.weight))

    @property
    def loss_error(self) -> float:
        """The standard error of the loss, over the rows."""
        return self._error(self.losses)

    @property
    def metric(self) -> float:
        """The mean of the metric over the folds where it is defined; NaN where it is in none."""
        defined = self.metrics[np.isfinite(self.metrics)]
        return float(defined.mean()) if len(defined) else float("nan")

    @property
    def metric_error(self) -> float:
        """The standard error of the metric, over the folds; NaN where fewer than two have it."""
        defined = self.metrics[np.isfinite(self.metrics)]
        return float(defined.std(ddof=1) / np.sqrt(len(defined))) if len(defined) > 1 else float("nan")

    def behind(self, best: FoldScores) -> tuple[float, float]:
        """Return how much more loss a row has than in another one of the same rows, and the standard error of that."""
        more = self.losses - best.losses
        return float(np.average(more, weights=self.weight)), self._error(more)

    def _error(self, values: np.ndarray) -> float:
        share = self.weight / self.weight.sum()
        return float(np.sqrt((share**2 * (values - (share * values).sum()) ** 2).sum()))


class LinearFolds(Protocol):
    """Scores features of rows by linear models: each row by a model of the folds that it is not in."""

    @property
    def loss_name(self) -> str:
        """What the loss is called."""

    @property
    def metric_name(self) -> str:
        """The metric's canonical name."""

    @property
    def folds(self) -> int:
        """How many folds there are."""

    def draw(self, most: int) -> np.ndarray:
        """Return sorted positions of at most so many training rows: a function of the seed."""

    def over(self, rows: np.ndarray) -> LinearFolds:
        """Return the same for some of the rows, whose features `score` is given.

        Raises:
            LabelError: All of these rows have the same label.
        """

    def score(self, blocks: Sequence[np.ndarray]) -> FoldScores:
        """Score features of the rows.

        Args:
            blocks: Float `(rows, width)` each, which weigh alike, however wide they are; none for the constant.
        """
