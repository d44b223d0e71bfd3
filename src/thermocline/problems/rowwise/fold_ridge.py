"""Ridge regressions of k folds in closed form, from one decomposition of the features.

What a model of the other folds gives for the rows of a fold follows from the model of all rows by one small system of
equations, for any penalty (Golub, Heath and Wahba, Technometrics 1979, for folds of one row).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.linalg import cho_factor, cho_solve

PENALTIES = tuple(10.0**k for k in range(-2, 5))
"""Relative to the mean square of a row's features."""

MIDDLE = 3  # of the penalties, where the search for the best one begins
DEAD = 1e-3  # of the median spread: what varies less is not blown up
NEGLIGIBLE = 1e-10  # of the largest eigenvalue


class FoldRidge:
    """Ridge regressions on blocks of features, each of all folds but one. The intercept has no penalty.

    Args:
        blocks: Features of each block, float `(rows, width)`; blocks weigh alike, however wide they are.
        wanted: What is predicted, classes as 0 and 1, float64 `(rows, outputs)`.
        weight: Row weights `(rows,)`, above 0.
        fold: The fold of each row, int `(rows,)`, from 0 on.
    """

    def __init__(self, blocks: Sequence[np.ndarray], wanted: np.ndarray, weight: np.ndarray, fold: np.ndarray) -> None:
        self.wanted = wanted
        self._root = np.sqrt(weight / weight.mean())[:, None]
        self._constant = self._root / np.linalg.norm(self._root)  # of the intercept
        self._rows = [np.flatnonzero(fold == number) for number in range(int(fold.max()) + 1)]
        scaled = [_standardised(block, weight) / np.sqrt(block.shape[1]) for block in blocks]
        inner = self._root * np.concatenate([np.zeros((len(wanted), 0)), *scaled], axis=1)
        self._basis, values = _decomposed(inner)
        given = self._root * wanted
        self._centred = given - self._constant @ (self._constant.T @ given)
        self._turned = self._basis.T @ given
        self._values = values / max(float(values.sum()) / len(wanted), 1e-300)

    def scores(self, penalty: float) -> np.ndarray:
        """Return for each row what a model of the other folds gives, float64 `(rows, outputs)`.

        Args:
            penalty: See `PENALTIES`.
        """
        shrunk = self._values / (self._values + penalty)
        residual = self._centred - self._basis @ (shrunk[:, None] * self._turned)
        for rows in self._rows:
            basis, own = self._basis[rows] * np.sqrt(shrunk), self._constant[rows]
            without = np.eye(len(rows)) - own @ own.T - basis @ basis.T
            residual[rows] = cho_solve(cho_factor(without, overwrite_a=True), residual[rows])
        return np.asarray(self.wanted - residual / self._root)

    def tried(self, weight: np.ndarray) -> list[np.ndarray]:
        """Return the scores under some penalties: the best one by the squared error, and its neighbours.

        Args:
            weight: Row weights.
        """
        found: dict[int, np.ndarray] = {}

        def error(place: int) -> float:
            found.setdefault(place, self.scores(PENALTIES[place]))
            return float(weight @ ((self.wanted - found[place]) ** 2).sum(axis=1))

        for direction in (1, -1):  # the error falls to its least and rises from there
            place = min(found, key=error, default=MIDDLE)
            while 0 <= place + direction < len(PENALTIES) and error(place + direction) < error(place):
                place += direction
        return [found[place] for place in sorted(found)]


def _standardised(block: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return features with mean 0 and spread 1, float64 `(rows, width)`."""
    own = block.astype(np.float64)
    own -= np.average(own, axis=0, weights=weight)
    spread = np.sqrt(np.average(own**2, axis=0, weights=weight))
    return own / np.maximum(spread, DEAD * np.median(spread) or 1.0)


def _decomposed(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the left singular vectors of features `(rows, rank)`, and the squares of the singular values."""
    rows, width = features.shape
    wide = width > rows
    values, vectors = np.linalg.eigh(features @ features.T if wide else features.T @ features)
    kept = values > NEGLIGIBLE * max(float(values.max(initial=0.0)), 1e-300)
    values, vectors = values[kept], vectors[:, kept]
    return (vectors if wide else features @ vectors / np.sqrt(values)), values
