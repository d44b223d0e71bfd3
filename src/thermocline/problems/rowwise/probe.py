"""Probe first: a linear model of the frozen features, folded into the head.

A fresh head on a pretrained tower starts from it (LP-FT: Kumar et al., ICLR 2022), and it is the score below which
no tuned model is handed out.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from thermocline.contracts.problem import Assembly
from thermocline.data.batches import Rows
from thermocline.errors import NonFiniteError, counted
from thermocline.problems.rowwise.model import FusionModel
from thermocline.problems.rowwise.target import RowTarget

STRENGTHS = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 0.3, 1.0)  # inverse penalties tried for classes, on standardised features
PENALTIES = tuple(10.0**k for k in range(-1, 6))  # tried for regression, by leave-one-out
CHOICE_ROWS = 3_000  # the strength is chosen on at most this many rows
SMALLEST_SPREAD = 1e-3  # of the median spread: dead features would otherwise be blown up


@dataclass(frozen=True)
class Probe:
    """A linear model of raw features: `features @ weight.T + bias`.

    Attributes:
        weight: float64 `(outputs, features)`.
        bias: float64 `(outputs,)`.
        note: What was chosen.
    """

    weight: np.ndarray
    bias: np.ndarray
    note: str


def fit_probe(
    features: np.ndarray,
    encoded: np.ndarray,
    target: RowTarget,
    *,
    weight: np.ndarray | None = None,
    fixed: np.ndarray | None = None,
    seed: int = 0,
) -> Probe:
    """Fit a logistic (classes) or ridge (numbers) regression on standardised features.

    Args:
        features: `(rows, width)`.
        encoded: Encoded labels.
        target: Tells which regression.
        weight: Row weights, or `None`.
        fixed: bool `(width,)`: features that are encodings between 0 and 1; they share one spread, or rare
            categories would weigh most.
        seed: For the folds.

    Raises:
        NonFiniteError: Features that are infinite or NaN.
    """
    if not np.isfinite(features).all():
        bad = int((~np.isfinite(features).all(axis=1)).sum())
        raise NonFiniteError(
            f"The features of {bad} of {counted(len(features), 'training row')} are not finite before any "
            "training. Set "
            "env.precision=fp32, and check that the checkpoint is whole."
        )
    if weight is not None:
        weight = (
            weight / weight.mean()
        )  # proportions count, as in the loss; scikit-learn sets its penalty against the sum
    mean = features.mean(axis=0, dtype=np.float64)
    spread = features.std(axis=0, dtype=np.float64)
    if fixed is not None and fixed.any():
        spread[fixed] = max(float(np.sqrt((spread[fixed] ** 2).mean())), 1e-12)
    median = float(np.median(spread)) or 1.0
    spread = np.maximum(spread, SMALLEST_SPREAD * median)
    scaled = ((features - mean) / spread).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # sklearn's notes on convergence: a floor need not be converged to the last digit
        if target.problem_type == "regression":
            coef, intercept, note = _ridge(scaled, encoded[:, 0], weight)
        elif target.problem_type == "multilabel":
            coef, intercept, note = _many_logistic(scaled, encoded, weight, seed)
        else:
            coef, intercept, note = _logistic(scaled, encoded, target.width, weight, seed)
    folded = coef / spread
    return Probe(folded, intercept - folded @ mean, note)


def fold(probe: Probe, model: FusionModel) -> None:
    """Write a probe into a model's head."""
    model.set_head(torch.as_tensor(probe.weight), torch.as_tensor(probe.bias), model.probe_columns())


@dataclass(frozen=True)
class ProbeStart:
    """The start of a head at a probe of the features below it.

    Attributes:
        model: The model.
        target: What the label asks for.
        train: The training rows.
        seed: For the folds.
    """

    model: FusionModel
    target: RowTarget
    train: Rows
    seed: int
    name: str = "the probe"

    @property
    def features(self) -> Callable[[Any], torch.Tensor]:
        """What computes features of a batch."""
        return self.model.features

    def apply(self, features: np.ndarray, reached: np.ndarray) -> str:
        """Fit a probe on the training rows that were reached, and write it into the head.

        Args:
            features: `(rows, width)`.
            reached: Which rows have them, bool `(rows,)`.

        Returns:
            What was done, or nothing where the rows show no two targets.
        """
        train, columns = self.train, self.model.probe_columns().numpy()
        assert train.target is not None
        rows = np.flatnonzero(reached if train.weight is None else reached & (train.weight > 0))
        encoded = train.target[rows]
        if len(rows) < 2 or not (encoded != encoded[0]).any():
            return ""
        found = fit_probe(
            features[np.ix_(rows, columns)],
            encoded,
            self.target,
            weight=None if train.weight is None else train.weight[rows],
            fixed=self.model.fixed_columns().numpy()[columns],
            seed=self.seed,
        )
        fold(found, self.model)
        cut = "" if len(rows) == len(train) else f", on {len(rows)} of {counted(len(train), 'row')} (time limit)"
        return f"probe: {found.note}{cut}"


def start_of(assembly: Assembly, train: Rows, *, seed: int) -> ProbeStart | None:
    """Return the probe that a run starts from, or None: not asked for, no features for it, or a frozen head.

    Args:
        assembly: The model and its plan.
        train: The training rows.
        seed: The run's seed.
    """
    model: FusionModel = assembly.model
    frozen = {name for label in assembly.plan.frozen for name in assembly.layer_map[label].parameters}
    if assembly.config.optim.head_init != "probe" or "head.weight" in frozen or not bool(model.probe_columns().any()):
        return None
    return ProbeStart(model, assembly.target, train, seed)


def _subset(target: np.ndarray, seed: int) -> np.ndarray:
    return np.random.default_rng([seed, 0x9B0E]).permutation(len(target))[:CHOICE_ROWS]


def _logistic(
    x: np.ndarray, y: np.ndarray, width: int, weight: np.ndarray | None, seed: int
) -> tuple[np.ndarray, np.ndarray, str]:
    from sklearn.linear_model import LogisticRegression

    strength = _choose_strength(x, y, weight, seed)
    model = LogisticRegression(C=strength, max_iter=300, tol=1e-3)
    model.fit(x, y, sample_weight=weight)
    coef, intercept = np.zeros((width, x.shape[1])), np.full(width, -10.0)
    if len(model.classes_) == 2 and len(model.coef_) == 1:  # one row of weights says both
        coef[model.classes_] = np.concatenate([-model.coef_ / 2, model.coef_ / 2])
        intercept[model.classes_] = [-model.intercept_[0] / 2, model.intercept_[0] / 2]
    else:
        coef[model.classes_], intercept[model.classes_] = model.coef_, model.intercept_
    return coef, intercept, f"logistic regression, C={strength:g}"


def _choose_strength(x: np.ndarray, y: np.ndarray, weight: np.ndarray | None, seed: int) -> float:
    """Choose C by the error of three folds and the one-standard-error rule (Breiman et al. 1984, section 3.4.3).

    Of all strengths whose error is within a standard error of the smallest, the most regular is taken: as good a
    floor, and a start that leaves something to learn. (A head that already separates the training rows gives the
    layers below it no gradient: on 1,500 texts in 77 classes the least log-loss chose C=1, a training loss of 0.02,
    and tuning went down from there.)
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold

    rows = _subset(y, seed)
    x, y, weight = x[rows], y[rows], None if weight is None else weight[rows]
    keep = np.bincount(y)[y] >= 3  # a class with fewer rows cannot be in every fold
    if len(np.unique(y[keep])) < 2:
        return STRENGTHS[len(STRENGTHS) // 2]
    x, y, weight = x[keep], y[keep], None if weight is None else weight[keep]
    right = np.zeros((len(STRENGTHS), len(y)))
    for train, held in StratifiedKFold(3, shuffle=True, random_state=seed).split(x, y):
        model = LogisticRegression(max_iter=100, tol=1e-2, warm_start=True)
        for i, strength in enumerate(STRENGTHS):
            model.set_params(C=strength)
            model.fit(x[train], y[train], sample_weight=None if weight is None else weight[train])
            right[i, held] = model.predict(x[held]) == y[held]
    shares = np.average(right, axis=1, weights=weight)
    best = float(shares.max())
    error = np.sqrt(best * (1 - best) / len(y))
    return STRENGTHS[int(np.flatnonzero(shares >= best - error)[0])]


def _many_logistic(
    x: np.ndarray, y: np.ndarray, weight: np.ndarray | None, seed: int
) -> tuple[np.ndarray, np.ndarray, str]:
    """One binary regression a label; a label that never (or always) occurs gets a constant."""
    coef, intercept = np.zeros((y.shape[1], x.shape[1])), np.zeros(y.shape[1])
    for j in range(y.shape[1]):
        column = y[:, j].astype(np.int64)
        if column.min() == column.max():
            intercept[j] = 10.0 if column[0] else -10.0
            continue
        two, bias, _ = _logistic(x, column, 2, weight, seed)
        coef[j], intercept[j] = two[1] - two[0], bias[1] - bias[0]
    return coef, intercept, f"{y.shape[1]} logistic regressions"


def _ridge(x: np.ndarray, y: np.ndarray, weight: np.ndarray | None) -> tuple[np.ndarray, np.ndarray, str]:
    from sklearn.linear_model import RidgeCV

    model: Any = RidgeCV(alphas=PENALTIES)
    model.fit(x.astype(np.float64), y.astype(np.float64), sample_weight=weight)
    return model.coef_[None, :], np.array([model.intercept_]), f"ridge regression, alpha={model.alpha_:g}"
