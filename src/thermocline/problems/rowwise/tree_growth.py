"""Boosted trees on the columns of a table, grown in folds, so that every row has a prediction of trees without it."""

from __future__ import annotations

import itertools
import math
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from thermocline.problems.rowwise.losses import Loss
from thermocline.problems.rowwise.objective import row_losses
from thermocline.problems.rowwise.tree_conversion import Boosted

SETTINGS = {"learning_rate": 0.08, "max_leaf_nodes": 15, "min_samples_leaf": 10, "l2_regularization": 1.0}
FIRST, MOST = 48, 800  # iterations
PILOT = 12  # that are timed first, where the time is limited
MOST_TREES = 4_000  # of all folds: what they take at prediction
FEWEST_ITERATIONS = 25
FOLDS = 5
FOLDED_CELLS = 500_000  # times outputs; more than these are not folded, but one part is held out
MOST_WORK = 1_000_000_000  # cells times iterations, of all folds and outputs
CELL_SECONDS = 2e-8  # of an iteration for one cell, where nothing was measured
FOLD_STREAM = 0x7EE5
ENOUGH = 0.8  # the best iteration lies before this share of those that were grown


@dataclass(frozen=True)
class TreeTask:
    """What trees are grown for.

    Attributes:
        x: Cells float32 `(rows, columns)`, categorical columns first, as whole numbers from 0; NaN where missing.
        categorical: How many columns are categorical.
        y: Class numbers int64 `(rows,)`, or numbers float32 `(rows,)`.
        weight: Row weights float64 `(rows,)`, all above 0, with a mean of 1.
        classes: How many classes there are; 0 for numbers.
        seed: For the folds.
        loss: Of numbers, where it is not the squared error.
    """

    x: np.ndarray
    categorical: int
    y: np.ndarray
    weight: np.ndarray
    classes: int
    seed: int
    loss: Loss | None = None

    @property
    def outputs(self) -> int:
        """Outputs a row: one for numbers and for two classes."""
        return self.classes if self.classes > 2 else 1

    def losses(self, raw: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Return the log-loss, the squared error or the loss of rows, `(len(rows),)`."""
        y = self.y[rows]
        if self.loss is not None:
            return row_losses(self.loss, torch.from_numpy(raw), torch.from_numpy(y[:, None])).double().numpy()
        if not self.classes:
            return np.asarray((raw[:, 0] - y) ** 2)
        if self.outputs == 1:
            return np.asarray(np.logaddexp(0.0, np.where(y == 1, -raw[:, 0], raw[:, 0])))
        top = raw.max(axis=1)
        total = np.log(np.exp(raw - top[:, None]).sum(axis=1)) + top
        return np.asarray(total - raw[np.arange(len(raw)), y])


@dataclass(frozen=True)
class Grown:
    """Trees that were grown.

    Attributes:
        models: One for each fold.
        iterations: How many iterations of each count.
        held_out: The outputs float64 `(rows, outputs)` of the trees that were grown without a row; NaN where there
            are none.
    """

    models: Sequence[Boosted]
    iterations: int
    held_out: np.ndarray


Fold = tuple[np.ndarray, np.ndarray]
"""Positions of the rows that trees are grown on, and of those held out."""


def folds_of(task: TreeTask, valid: np.ndarray) -> list[Fold]:
    """Return the folds of all rows, with classes or numbers in proportion; or the validation rows held out from a lot.

    Args:
        task: The rows.
        valid: Positions of the validation rows.
    """
    rows = np.arange(len(task.x))
    if task.x.size * task.outputs > FOLDED_CELLS or _most(task, FOLDS) < FEWEST_ITERATIONS:
        return [(np.setdiff1d(rows, valid), valid)]
    shuffled = np.random.default_rng([task.seed, FOLD_STREAM]).permutation(len(rows))
    number = np.empty(len(rows), dtype=np.int64)
    number[np.lexsort((shuffled, task.y))] = rows % FOLDS
    return [(rows[number != one], rows[number == one]) for one in range(FOLDS)]


def grow(task: TreeTask, folds: Sequence[Fold], seconds_left: Callable[[], float]) -> Grown | str:
    """Grow trees until the rows that were held out are predicted no better, or the time is up.

    Args:
        task: The rows.
        folds: Which of them each model is grown on.
        seconds_left: Returns the seconds that it may still take.

    Returns:
        The trees, or why there are none.
    """
    most = _most(task, len(folds))
    if most < FEWEST_ITERATIONS:
        return f"{task.classes:,} classes take too many trees" if task.outputs > 1 else "too many rows"
    if task.classes and any(len(np.unique(task.y[train])) < 2 for train, _ in folds):
        return "too few rows of a class"
    iterations = min(FIRST if math.isinf(seconds_left()) else PILOT, most)
    if iterations * _work(task, len(folds)) * CELL_SECONDS > seconds_left():
        return "no time"
    models = [_model(task, train) for train, _ in folds]
    while True:
        begin = time.monotonic()
        curve = sum(_grown_to(*pair, task, iterations) for pair in zip(models, folds, strict=True))
        best = int(np.argmin(curve)) + 1
        found = iterations >= FIRST and best <= ENOUGH * iterations
        if found or iterations == most or 2.5 * (time.monotonic() - begin) > seconds_left():
            break
        iterations = min(2 * iterations, most)
    held_out = np.full((len(task.x), task.outputs), math.nan)
    for model, (_, held) in zip(models, folds, strict=True):
        held_out[held] = next(itertools.islice(model.stages(task.x[held]), best - 1, None))
    return Grown(models, best, held_out)


def _work(task: TreeTask, folds: int) -> int:
    """Return the cells that an iteration goes through."""
    return task.x.size * task.outputs * folds


def _most(task: TreeTask, folds: int) -> int:
    """Return how many iterations there are at most."""
    return min(MOST, MOST_TREES // (folds * task.outputs), MOST_WORK // max(1, _work(task, folds)))


def _model(task: TreeTask, train: np.ndarray) -> Boosted:
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    kind = HistGradientBoostingClassifier if task.classes else HistGradientBoostingRegressor
    model = kind(
        **SETTINGS,
        **_of_loss(task.loss),
        early_stopping=False,
        warm_start=True,
        random_state=task.seed % 2**32,
        categorical_features=list(range(task.categorical)) or None,
    )
    columns = task.x[train, : task.categorical].T
    return Boosted(model, tuple(np.unique(column[~np.isnan(column)]) for column in columns), task.outputs)


def _of_loss(loss: Loss | None) -> dict[str, Any]:
    """Return what tells scikit-learn the loss."""
    if loss is None:
        return {}
    return {"loss": loss.grows_trees} | ({"quantile": loss.numbers[0]} if loss.name == "quantile" else {})


def _grown_to(model: Boosted, fold: Fold, task: TreeTask, iterations: int) -> np.ndarray:
    """Grow a model, and return the loss on the rows held out after each iteration, `(iterations,)`."""
    train, held = fold
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of columns without any value
        model.model.set_params(max_iter=iterations)
        model.model.fit(model.cells(task.x[train]), task.y[train], sample_weight=task.weight[train])
    stages = model.stages(task.x[held])
    return np.array([(task.losses(raw, held) * task.weight[held]).sum() for raw in stages])
