"""Metrics of `quality.py` on plain arrays, and paired bootstrap intervals of their differences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

LEAST = 1e-7  # a probability counts as no smaller
BINS = 15


@dataclass(frozen=True)
class Truth:
    """The labels of the test rows.

    Attributes:
        metric: `accuracy`, `f1`, `roc_auc`, `r2` or `spearman`.
        values: Numbers, or codes of `classes`.
        classes: In order; empty for a number.
        positive: The code that `f1` and `roc_auc` are about.
    """

    metric: str
    values: np.ndarray
    classes: tuple[str, ...] = ()
    positive: int = 1


@dataclass(frozen=True)
class Prediction:
    """What is said of the test rows: numbers `(rows,)`, or probabilities `(rows, classes)` and codes `(rows,)`."""

    values: np.ndarray
    codes: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray, codes: np.ndarray | None = None) -> Prediction:
        """Return a prediction whose codes are the likeliest classes, where none are given."""
        if codes is None:
            codes = values.argmax(1) if values.ndim == 2 else np.zeros(len(values), dtype=int)
        return cls(values, codes)


def score(truth: Truth, said: Prediction, rows: np.ndarray | slice = slice(None)) -> float:
    """Return the metric on some rows; NaN where it has no value there."""
    true, values, codes = truth.values[rows], said.values[rows], said.codes[rows]
    if truth.metric == "accuracy":
        return float(np.mean(codes == true))
    if truth.metric == "f1":
        wanted, got = true == truth.positive, codes == truth.positive
        return float(2 * np.sum(wanted & got) / max(1, np.sum(wanted) + np.sum(got)))
    if truth.metric == "roc_auc":
        return _roc_auc(true == truth.positive, values[:, truth.positive])
    if truth.metric == "r2":
        return float(1 - np.sum((true - values) ** 2) / np.sum((true - true.mean()) ** 2))
    return float(np.corrcoef(rankdata(true), rankdata(values))[0, 1]) if np.ptp(values) > 0 else 0.0


def _roc_auc(wanted: np.ndarray, chance: np.ndarray) -> float:
    there = int(wanted.sum())
    others = len(wanted) - there
    if not there or not others:
        return float("nan")
    return float((rankdata(chance)[wanted].sum() - there * (there + 1) / 2) / (there * others))


def log_loss(truth: Truth, said: Prediction) -> float:
    """Return the mean of -log of the probability of the right class; NaN for numbers."""
    if not truth.classes:
        return float("nan")
    chance = np.clip(said.values[np.arange(len(truth.values)), truth.values], LEAST, 1)
    return float(-np.log(chance).mean())


def ece(truth: Truth, said: Prediction) -> float:
    """Return the expected calibration error of the likeliest class (Guo et al. 2017), 15 bins of equal width."""
    if not truth.classes:
        return float("nan")
    sure, right = said.values.max(1), said.values.argmax(1) == truth.values
    bins = np.minimum((sure * BINS).astype(int), BINS - 1)
    gaps = [abs(np.sum(right[bins == b]) - np.sum(sure[bins == b])) for b in range(BINS)]
    return float(np.sum(gaps) / len(sure))


def uncalibrated(said: Prediction, temperature: float) -> Prediction:
    """Return the probabilities that a temperature made these of."""
    logits = np.log(np.maximum(said.values.astype(np.float64), 1e-30)) * temperature
    chances = np.exp(logits - logits.max(axis=1, keepdims=True))
    return Prediction(chances / chances.sum(axis=1, keepdims=True), said.codes)


@dataclass(frozen=True)
class Difference:
    """The mean difference over the seeds, its standard error, and its 95 % interval."""

    mean: float
    se: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """`ahead` or `behind` where the interval says so, else `level`."""
        return "ahead" if self.low > 0 else "behind" if self.high < 0 else "level"


def difference(truth: Truth, pairs: Sequence[tuple[Prediction, Prediction]], draws: int = 500) -> Difference:
    """Return the paired difference of two predictions per seed, by a bootstrap over test rows and seeds.

    Each draw takes the same rows for both and for all seeds, and as many seeds with replacement.
    """
    numbers = np.random.default_rng(0)
    found = []
    for _ in range(draws):
        rows = numbers.integers(0, len(truth.values), len(truth.values))
        drawn = numbers.integers(0, len(pairs), len(pairs))
        gaps = {i: score(truth, pairs[i][0], rows) - score(truth, pairs[i][1], rows) for i in set(drawn.tolist())}
        found.append(np.mean([gaps[i] for i in drawn.tolist()]))
    mean = float(np.mean([score(truth, ours) - score(truth, other) for ours, other in pairs]))
    low, high = np.nanpercentile(found, [2.5, 97.5])
    return Difference(mean, float(np.nanstd(found)), float(low), float(high))
