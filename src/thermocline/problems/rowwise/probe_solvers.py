"""The linear models that a probe can be: scikit-learn's for classes and numbers, one joint solution for labels."""

from __future__ import annotations

from typing import Any

import numpy as np

from thermocline.problems.rowwise.probe_rows import FEWEST_ROWS, OUTPUTS_AT_ONCE, drawn_rows
from thermocline.problems.rowwise.probe_time import Pace
from thermocline.problems.rowwise.target import RowTarget

STRENGTHS = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 0.3, 1.0)  # inverse penalties tried for classes, on standardised features
MIDDLE = STRENGTHS[len(STRENGTHS) // 2]
PENALTIES = tuple(10.0**k for k in range(-1, 6))  # tried for regression, by leave-one-out
CHOICE_ROWS = 3_000  # the strength is chosen on at most this many rows
FOLDS = 3
ITERATIONS, CHOICE_ITERATIONS = 300, 100
TOLERANCE, CHOICE_TOLERANCE = 1e-3, 1e-2
FEW_LABELS = 8  # that are solved one by one
TIMED_ROWS = 1_000  # of a regression, where there is a limit

Solved = tuple[np.ndarray, np.ndarray, str]
"""Weights `(outputs, features)`, biases `(outputs,)`, and what was chosen."""


def solve(
    x: np.ndarray, encoded: np.ndarray, target: RowTarget, weight: np.ndarray | None, *, seed: int, pace: Pace
) -> Solved:
    """Return a linear model of standardised features.

    Args:
        x: Features float32 `(rows, width)`.
        encoded: Encoded labels.
        target: Tells which model.
        weight: Row weights, or None.
        seed: For folds, and for the rows where the time is short.
        pace: Measures the time, and says how much is left.
    """
    if target.problem_type == "multilabel":
        return _many_logistic(x, encoded, weight, seed, pace)
    if target.problem_type == "regression":
        if not np.isinf(pace.left()) and len(x) > TIMED_ROWS:
            pace.measured(lambda: _timed_ridge(x, encoded))
        most, _ = pace.affordable(len(x), 1, FEWEST_ROWS)
    else:
        strength = _choose_strength(x, encoded, weight, seed, pace)
        most, iterations = pace.affordable(len(x), ITERATIONS, FEWEST_ROWS)
    if most < len(x):
        rows = drawn_rows(target, encoded, np.arange(len(x)), most, seed)
        x, encoded, weight = x[rows], encoded[rows], None if weight is None else weight[rows]
    if target.problem_type == "regression":
        coef, intercept, note = _ridge(x, encoded[:, 0], weight)
    else:
        coef, intercept, note = _logistic(x, encoded, target.width, weight, strength, iterations)
    return coef, intercept, note if most >= len(x) else f"{note}, on {len(x):,} rows (time limit)"


def _subset(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng([seed, 0x9B0E]).permutation(count)[:CHOICE_ROWS]


# -- classes ---------------------------------------------------------------------------------------


def _logistic(
    x: np.ndarray, y: np.ndarray, width: int, weight: np.ndarray | None, strength: float, iterations: int
) -> Solved:
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=strength, max_iter=iterations, tol=TOLERANCE)
    model.fit(x, y, sample_weight=weight)
    coef, intercept = np.zeros((width, x.shape[1])), np.full(width, -10.0)
    if len(model.classes_) == 2 and len(model.coef_) == 1:  # one row of weights says both
        coef[model.classes_] = np.concatenate([-model.coef_ / 2, model.coef_ / 2])
        intercept[model.classes_] = [-model.intercept_[0] / 2, model.intercept_[0] / 2]
    else:
        coef[model.classes_], intercept[model.classes_] = model.coef_, model.intercept_
    return coef, intercept, f"logistic regression, C={strength:g}"


def _choose_strength(x: np.ndarray, y: np.ndarray, weight: np.ndarray | None, seed: int, pace: Pace) -> float:
    """Choose C by the error of three folds and the one-standard-error rule (see `chosen`).

    Where the time is up before all folds are fitted, it is the middle one.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold

    rows = _subset(len(y), seed)
    x, y, weight = x[rows], y[rows], None if weight is None else weight[rows]
    keep = np.bincount(y)[y] >= FOLDS  # a class with fewer rows cannot be in every fold
    if len(np.unique(y[keep])) < 2:
        return MIDDLE
    x, y, weight = x[keep], y[keep], None if weight is None else weight[keep]
    right = np.zeros((len(STRENGTHS), len(y)))
    for train, held in StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(x, y):
        model = LogisticRegression(max_iter=CHOICE_ITERATIONS, tol=CHOICE_TOLERANCE, warm_start=True)

        def fit(model: Any = model, train: np.ndarray = train) -> float:
            model.fit(x[train], y[train], sample_weight=None if weight is None else weight[train])
            return float(len(train) * model.n_iter_.max())

        for i, strength in enumerate(STRENGTHS):
            if not pace.allows_another():
                return MIDDLE
            model.set_params(C=strength)
            pace.measured(fit)
            right[i, held] = model.predict(x[held]) == y[held]
    return STRENGTHS[int(chosen(np.average(right, axis=1, weights=weight)[:, None], len(y))[0])]


def chosen(shares: np.ndarray, rows: int | np.ndarray) -> np.ndarray:
    """Return which strength each output gets, by the one-standard-error rule (Breiman et al. 1984, section 3.4.3).

    Of all strengths whose error is within a standard error of the smallest, the most regular is taken: as good a
    floor, and a start that leaves something to learn. (A head that already separates the training rows gives the
    layers below it no gradient: on 1,500 texts in 77 classes the least log-loss chose C=1, a training loss of 0.02,
    and tuning went down from there.)

    Args:
        shares: Right predictions of held-out rows `(strengths, outputs)`.
        rows: How many rows there were.
    """
    best = shares.max(axis=0)
    error = np.sqrt(best * (1 - best) / rows)
    return np.asarray((shares >= best - error).argmax(axis=0))


# -- several labels --------------------------------------------------------------------------------


def _many_logistic(x: np.ndarray, y: np.ndarray, weight: np.ndarray | None, seed: int, pace: Pace) -> Solved:
    """One binary regression a label; a label that never (or always) occurs gets a constant.

    A few labels are solved one by one, as two classes are; many together, which takes a tenth of the time of each.
    """
    coef, intercept = np.zeros((y.shape[1], x.shape[1])), np.where(y[0] > 0.5, 10.0, -10.0)
    varied = np.flatnonzero(y.min(axis=0) != y.max(axis=0))
    solved = _one_by_one if len(varied) <= FEW_LABELS else _together
    for start in range(0, len(varied), OUTPUTS_AT_ONCE):
        some = varied[start : start + OUTPUTS_AT_ONCE]
        coef[some], intercept[some] = solved(x, y[:, some] > 0.5, weight, seed, pace)
    return coef, intercept, f"{y.shape[1]} logistic regressions"


def _one_by_one(
    x: np.ndarray, truth: np.ndarray, weight: np.ndarray | None, seed: int, pace: Pace
) -> tuple[np.ndarray, np.ndarray]:
    coef, intercept = np.zeros((truth.shape[1], x.shape[1])), np.zeros(truth.shape[1])
    for j, column in enumerate(truth.T.astype(np.int64)):
        strength, left = _choose_strength(x, column, weight, seed, pace), truth.shape[1] - j
        _, iterations = pace.affordable(len(x) * left, ITERATIONS, FEWEST_ROWS)
        two, bias, _ = _logistic(x, column, 2, weight, strength, iterations)
        coef[j], intercept[j] = two[1] - two[0], bias[1] - bias[0]
    return coef, intercept


def _together(
    x: np.ndarray, truth: np.ndarray, weight: np.ndarray | None, seed: int, pace: Pace
) -> tuple[np.ndarray, np.ndarray]:
    strengths = _choose_strengths(x, truth, weight, seed, pace)
    each = np.ones(len(x)) if weight is None else weight
    problem = JointLogistic(x, truth, np.broadcast_to(each[:, None], truth.shape), pace)
    found = problem.solve(strengths, None, iterations=ITERATIONS, tolerance=TOLERANCE)
    return found[:, :-1], found[:, -1]


def _choose_strengths(x: np.ndarray, truth: np.ndarray, weight: np.ndarray | None, seed: int, pace: Pace) -> np.ndarray:
    """Choose C of each label as `_choose_strength` does, with folds of its own."""
    from sklearn.model_selection import StratifiedKFold

    rows = _subset(len(x), seed)
    x, truth, weight = x[rows], truth[rows], np.ones(len(rows)) if weight is None else weight[rows]
    both = np.minimum(truth.sum(axis=0), (~truth).sum(axis=0)) >= FOLDS
    fold = np.zeros(truth.shape, dtype=np.int8)
    for j in np.flatnonzero(both):
        splits = StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(x, truth[:, j])
        for number, (_, held) in enumerate(splits):
            fold[held, j] = number
    right = np.zeros((len(STRENGTHS), *truth.shape), dtype=bool)
    for number in range(FOLDS):
        held, found = fold == number, None
        problem = JointLogistic(x, truth, weight[:, None] * ~held, pace)
        for i, strength in enumerate(STRENGTHS):
            if pace.left() <= 0:
                return np.full(truth.shape[1], MIDDLE)
            strengths = np.full(truth.shape[1], strength)
            found = problem.solve(strengths, found, iterations=CHOICE_ITERATIONS, tolerance=CHOICE_TOLERANCE)
            right[i][held] = (((x @ found[:, :-1].T + found[:, -1]) > 0) == truth)[held]
    shares = np.average(right, axis=1, weights=weight)
    return np.where(both, np.array(STRENGTHS)[chosen(shares, len(x))], MIDDLE)


class JointLogistic:
    """Binary regressions of several labels on the same features, minimised together: one product a step for all.

    Each is scikit-learn's problem: mean loss, and a squared penalty of the weights divided by C and the sum of the row
    weights.

    Args:
        x: Features float32 `(rows, width)`.
        truth: bool `(rows, labels)`.
        weight: Weight of each row for each label `(rows, labels)`.
        pace: Ends the iterations when the time is up.
    """

    def __init__(self, x: np.ndarray, truth: np.ndarray, weight: np.ndarray, pace: Pace) -> None:
        self.x, self.truth, self.pace = x, truth, pace
        self.total = np.maximum(weight.sum(axis=0), 1e-12)
        self.share = (weight / self.total).astype(np.float32)

    def solve(
        self, strengths: np.ndarray, start: np.ndarray | None, *, iterations: int, tolerance: float
    ) -> np.ndarray:
        """Return weights and bias `(labels, width + 1)`.

        Args:
            strengths: C of each label.
            start: Where to begin, or None for zeros.
            iterations: The most.
            tolerance: Of the largest gradient.
        """
        from scipy.optimize import minimize

        shape = self.truth.shape[1], self.x.shape[1] + 1
        penalty = (1.0 / (strengths * self.total))[:, None]

        def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
            both = flat.reshape(shape)
            value, gradient = self._loss(both.astype(np.float32))
            own = both[:, :-1]
            gradient[:, :-1] += penalty * own
            return value + 0.5 * float((penalty * own * own).sum()), gradient.ravel()

        def watch(_found: np.ndarray) -> None:
            if self.pace.left() <= 0:
                raise StopIteration

        options = {"maxiter": iterations, "gtol": tolerance, "ftol": 64 * np.finfo(float).eps, "maxls": 50}
        begin = np.zeros(shape) if start is None else start
        found = minimize(loss, begin.ravel(), method="L-BFGS-B", jac=True, callback=watch, options=options)
        return np.asarray(found.x).reshape(shape)

    def _loss(self, weights: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the sum of the mean losses, and its gradient float64 `(labels, width + 1)`."""
        outputs = self.x @ weights[:, :-1].T + weights[:, -1]
        small = np.exp(-np.abs(outputs))
        value = np.log1p(small) + np.maximum(outputs, 0) - np.where(self.truth, outputs, 0)
        chance = np.where(outputs >= 0, 1, small) / (1 + small)
        slope = (chance - self.truth) * self.share
        gradient = np.empty(weights.shape)
        gradient[:, :-1], gradient[:, -1] = slope.T @ self.x, slope.sum(axis=0)
        return float((value * self.share).sum(dtype=np.float64)), gradient


# -- numbers ---------------------------------------------------------------------------------------


def _ridge(x: np.ndarray, y: np.ndarray, weight: np.ndarray | None) -> Solved:
    from sklearn.linear_model import RidgeCV

    model: Any = RidgeCV(alphas=PENALTIES)
    model.fit(x.astype(np.float64), y.astype(np.float64), sample_weight=weight)
    return model.coef_[None, :], np.array([model.intercept_]), f"ridge regression, alpha={model.alpha_:g}"


def _timed_ridge(x: np.ndarray, encoded: np.ndarray) -> float:
    _ridge(x[:TIMED_ROWS], encoded[:TIMED_ROWS, 0], None)
    return TIMED_ROWS
