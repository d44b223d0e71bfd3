"""The linear model that a probe is: softmax, sigmoids or least squares, and how strongly it is regularised."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from thermocline.problems.rowwise.linear_models import LinearModels
from thermocline.problems.rowwise.probe_rows import FEWEST_ROWS, drawn_rows
from thermocline.problems.rowwise.target import RowTarget

STRENGTHS = tuple(round(10.0 ** (k / 2), 7) for k in range(-8, 5))
"""Inverse penalties tried, from the most regular on."""

MIDDLE = 1e-2  # where nothing can be chosen
CHOICE_ROWS = 3_000  # the strength is chosen on at most this many rows
FOLDS = 3
REPEATED_ROWS = 900  # with fewer rows the folds are drawn several times, up to
REPEATS = 3
ITERATIONS, CHOICE_ITERATIONS = 300, 60
CHOICE_TOLERANCE = 1e-3
CHOICE_SHARE = 0.5  # of the time that is left
FEWEST_ITERATIONS = 30  # with fewer, fewer rows are the better probe
CONSTANT = 10.0  # the output of a label that never, or always, occurs; of a class that never does its negative


def unlimited() -> float:
    """Return the seconds left where there is no limit."""
    return float("inf")


Solved = tuple[np.ndarray, np.ndarray, str]
"""Weights `(outputs, features)`, biases `(outputs,)`, and what was chosen."""


@dataclass(frozen=True)
class Asked:
    """What a linear model is to give.

    Attributes:
        target: int64 `(rows,)` or float32 `(rows, outputs)`, of the outputs that vary.
        varied: Which of the target's outputs these are.
        loss: As in `LinearModels`.
        device: Where it is computed.
        label_weights: Of several labels, what each of these counts where a row has it; empty: 1.
    """

    target: np.ndarray
    varied: np.ndarray
    loss: str
    device: torch.device
    label_weights: tuple[float, ...] = ()

    @classmethod
    def of(cls, target: RowTarget, encoded: np.ndarray, device: torch.device) -> Asked:
        """Return what the rows of a target ask for: classes that occur, labels that vary, or the number."""
        if target.problem_type == "regression":
            return cls(encoded.astype(np.float32), np.arange(1), target.loss_name, device)
        if target.problem_type == "multilabel":
            varied = np.flatnonzero(encoded.min(axis=0) != encoded.max(axis=0))
            weights = tuple(np.asarray(target.label_weights)[varied].tolist()) if target.label_weights else ()
            return cls(encoded[:, varied].astype(np.float32), varied, target.loss_name, device, weights)
        varied, codes = np.unique(encoded, return_inverse=True)
        return cls(codes.astype(np.int64), varied, target.loss_name, device)

    def models(
        self, x: np.ndarray, rows: np.ndarray | slice, weight: np.ndarray, left: Callable[[], float]
    ) -> LinearModels:
        """Return linear models of some rows.

        Args:
            x: Features of all rows.
            rows: Which rows.
            weight: `(models, these rows)`.
            left: Returns the seconds that are left.
        """
        given, wanted = torch.from_numpy(x[rows]).to(self.device), torch.from_numpy(self.target[rows]).to(self.device)
        shares = torch.from_numpy(weight.astype(np.float32)).to(self.device)
        models = LinearModels(given, wanted, len(self.varied), loss=self.loss, weight=shares, seconds_left=left)
        if self.label_weights:
            models.label_weights = torch.tensor(self.label_weights, device=self.device)
        return models


def solve(  # noqa: PLR0913
    x: np.ndarray,
    encoded: np.ndarray,
    target: RowTarget,
    asked: Asked,
    weight: np.ndarray,
    *,
    seed: int,
    seconds_left: Callable[[], float],
    to_tune: bool = False,
) -> Solved:
    """Return a linear model of standardised features.

    Args:
        x: Features float32 `(rows, width)`.
        encoded: Encoded labels.
        target: Tells which model.
        asked: The same, as the linear models take it.
        weight: Row weights of mean 1.
        seed: For folds, and for the rows where the time is short.
        seconds_left: Returns the seconds that it may still take.
        to_tune: Whether the layers below are tuned from it (see `most_regular`).
    """
    end = _later(CHOICE_SHARE * seconds_left())
    strength, pace = _choose_strength(x, asked, weight, seed, end, to_tune=to_tune)
    most = int(np.clip(seconds_left() / max(FEWEST_ITERATIONS * pace, 1e-9), min(FEWEST_ROWS, len(x)), len(x)))
    rows: np.ndarray | slice = slice(None)
    if most < len(x):
        rows = drawn_rows(target, encoded, np.arange(len(x)), most, seed)
    models = asked.models(x, rows, weight[rows][None], seconds_left)
    found = models.solve(strength, models.zeros(), iterations=ITERATIONS)[0].double().cpu().numpy()
    coef, intercept = np.zeros((target.width, x.shape[1])), _constants(target, encoded)
    coef[asked.varied], intercept[asked.varied] = found[:, :-1], found[:, -1]
    cut = f", on {most:,} rows (time limit)" if most < len(x) else ""
    return coef, intercept, f"{_name(target)}={_shown(target, strength)}{cut}"


def _name(target: RowTarget) -> str:
    if target.problem_type == "regression":
        return "ridge regression, alpha"
    several = target.problem_type == "multilabel"
    return f"{target.width} logistic regressions, C" if several else "logistic regression, C"


def _shown(target: RowTarget, strength: float) -> str:
    return f"{1 / strength if target.problem_type == 'regression' else strength:.3g}"


def _constants(target: RowTarget, encoded: np.ndarray) -> np.ndarray:
    if target.problem_type == "multilabel":
        return np.where(encoded[0] > 0.5, CONSTANT, -CONSTANT)
    return np.full(target.width, -CONSTANT)


def _later(seconds: float) -> Callable[[], float]:
    """Return what tells the seconds that are left of so many from now on."""
    end = time.monotonic() + seconds
    return lambda: end - time.monotonic()


# -- how strongly it is regularised ----------------------------------------------------------------


def _choose_strength(
    x: np.ndarray, asked: Asked, weight: np.ndarray, seed: int, left: Callable[[], float], *, to_tune: bool
) -> tuple[float, float]:
    """Choose C by the loss of held-out rows and the one-standard-error rule (see `chosen`).

    The folds of all repeats are fitted together, from the most regular C on, each from the one before; two that are
    worse than the best by more than a standard error end it.

    Returns:
        C, and the seconds that an evaluation of one model's loss takes on all rows of `x`.
    """
    rows = np.random.default_rng([seed, 0x9B0E]).permutation(len(x))[:CHOICE_ROWS]
    if asked.loss == "cross_entropy":  # a class with fewer rows cannot be in every fold
        rows = rows[np.bincount(asked.target[rows], minlength=len(asked.varied))[asked.target[rows]] >= FOLDS]
    fold = _folds(asked, rows, seed)
    if fold is None:
        return MIDDLE, 0.0
    own, held = weight[rows], torch.from_numpy(fold.T).to(asked.device)
    models = asked.models(x, rows, own * ~fold, left)
    found, losses, right = models.zeros(), [], []
    for strength in STRENGTHS:
        found = models.solve(strength, found, iterations=CHOICE_ITERATIONS, tolerance=CHOICE_TOLERANCE)
        if left() <= 0:
            break
        each = torch.where(held, models.row_losses(found), 0.0).sum(dim=1)  # of a row, over the repeats
        losses.append(each.double().cpu().numpy())
        if to_tune and asked.loss != "mse":
            right.append(torch.where(held, models.right(found), 0.0).sum(dim=1).cpu().numpy() / (len(fold) / FOLDS))
        if _only_worse(losses, own):
            break
    pace = models.seconds / (models.evaluations * len(rows) * len(fold)) * len(x)
    taken = min(chosen(losses, own), most_regular(right, own) if right else len(losses)) if losses else 0
    if left() <= 0 and taken >= len(losses) - 1:  # less regular ones might have been better
        return max(STRENGTHS[taken], MIDDLE), pace
    return STRENGTHS[taken], pace


def _folds(asked: Asked, rows: np.ndarray, seed: int) -> np.ndarray | None:
    """Return which rows each model leaves out, bool `(models, rows)`, or None where there are too few."""
    from sklearn.model_selection import KFold, StratifiedKFold

    repeats = int(np.clip(REPEATED_ROWS // max(len(rows), 1), 1, REPEATS))
    classes = asked.target[rows] if asked.loss == "cross_entropy" else None
    if len(rows) < 2 * FOLDS or (classes is not None and len(np.unique(classes)) < 2):
        return None
    held = np.zeros((repeats * FOLDS, len(rows)), dtype=bool)
    for repeat in range(repeats):
        kind = KFold if classes is None else StratifiedKFold
        splits = kind(FOLDS, shuffle=True, random_state=seed + repeat).split(np.zeros(len(rows)), classes)
        for number, (_, out) in enumerate(splits):
            held[repeat * FOLDS + number, out] = True
    return held


def chosen(losses: list[np.ndarray], weight: np.ndarray) -> int:
    """Return which strength is taken, by the one-standard-error rule (Breiman et al. 1984, section 3.4.3).

    Of all whose mean loss is within a standard error of the smallest, the most regular. The error is that of the
    difference between the two on the same rows.

    Args:
        losses: Of held-out rows `(rows,)`, by strength, from the most regular on.
        weight: Row weights.
    """
    best = int(np.argmin([np.average(each, weights=weight) for each in losses]))
    return next(i for i, each in enumerate(losses) if not clearly_more(each, losses[best], weight))


def most_regular(right: list[np.ndarray], weight: np.ndarray) -> int:
    """Return which strength the layers below are tuned from: the most regular whose accuracy is not clearly less.

    A head that already separates the training rows gives these layers no gradient: on 1,500 texts in 77 classes the
    least log-loss chose C=1, with a training loss of .045, and tuning went down from there.

    Args:
        right: Share of right outputs of held-out rows `(rows,)`, by strength.
        weight: Row weights.
    """
    shares = [float(np.average(each, weights=weight)) for each in right]
    best = max(shares)
    error = np.sqrt(max(best * (1 - best), 0.0) / len(weight))
    return next(i for i, share in enumerate(shares) if share >= best - error)


def clearly_more(losses: np.ndarray, others: np.ndarray, weight: np.ndarray) -> bool:
    """Whether the mean of some losses is more than a standard error above that of others on the same rows."""
    more = losses - others
    mean = float(np.average(more, weights=weight))
    share = weight / weight.sum()
    error = float(np.sqrt((share**2 * (more - mean) ** 2).sum()))
    return mean > error


def _only_worse(losses: list[np.ndarray], weight: np.ndarray) -> bool:
    best = min(losses, key=lambda each: float(np.average(each, weights=weight)))
    return len(losses) > 2 and all(clearly_more(each, best, weight) for each in losses[-2:])
