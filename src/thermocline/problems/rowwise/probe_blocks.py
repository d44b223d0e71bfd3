"""How much each block of features counts in a probe: towers, and image columns, of very different width.

Under one penalty a block of many features outweighs one of few. Blocks are scaled to equal norm, and by a factor each,
which held-out rows decide: the errors of a ridge regression with one row left out follow in closed form from one
decomposition (Golub, Heath and Wahba, Technometrics 1979), so that many factors can be tried.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from thermocline.problems.rowwise.probe_solvers import Asked

ROWS = 600  # that the factors are chosen on, at most
FACTORS = (0.0, 1 / 3, 3.0)  # tried on a block, times what it has
PASSES = 2  # over the blocks
PENALTIES = tuple(10.0**k for k in np.arange(-2, 4.5, 0.5))  # relative to the mean square of a row's features


def block_scales(
    x: np.ndarray, blocks: np.ndarray, asked: Asked, weight: np.ndarray, *, seed: int, seconds_left: Callable[[], float]
) -> np.ndarray:
    """Return what each standardised feature is multiplied by, float64 `(width,)`: 1 where there is one block.

    Args:
        x: Standardised features float32 `(rows, width)`.
        blocks: The block of each feature, int `(width,)`, from 0 on.
        asked: What the linear model is to give.
        weight: Row weights `(rows,)`.
        seed: For the rows that are drawn where there are many.
        seconds_left: Returns the seconds that are left; without any, the blocks have equal norm.
    """
    sizes = np.bincount(blocks)
    if len(sizes) < 2:
        return np.ones(len(blocks))
    rows = np.random.default_rng([seed, 0xB10C]).permutation(len(x))[:ROWS]
    factors = _factors(_Trial(x[rows], blocks, asked.target[rows], asked, weight[rows]), len(sizes), seconds_left)
    shares = factors / np.sqrt((factors**2).mean())
    scales: np.ndarray = (shares * np.sqrt(len(blocks) / (len(sizes) * sizes)))[blocks]
    return scales


def _factors(trial: _Trial, count: int, seconds_left: Callable[[], float]) -> np.ndarray:
    """Return a factor for each block: 1, unless held-out rows are predicted better with another."""
    factors = np.ones(count)
    best = trial.errors(factors)
    for _ in range(PASSES):
        before = factors
        for block in range(count):
            options = [np.where(np.arange(count) == block, factors * factor, factors) for factor in FACTORS]
            options = [one for one in options if one.any() and not np.array_equal(one, factors)]
            if seconds_left() <= 0 or not options:
                return factors
            tried = [trial.errors(one) for one in options]
            means = [float(np.average(errors, weights=trial.weight)) for errors in tried]
            least = int(np.argmin(means))
            if means[least] < float(np.average(best, weights=trial.weight)):
                factors, best = options[least], tried[least]
        if np.array_equal(before, factors):
            break
    return factors


class _Trial:
    """Errors of rows left out, for any factors of the blocks.

    Args:
        x: Features `(rows, width)`.
        blocks: The block of each feature.
        target: Of these rows.
        asked: Says what the target is.
        weight: Row weights.
    """

    def __init__(self, x: np.ndarray, blocks: np.ndarray, target: np.ndarray, asked: Asked, weight: np.ndarray) -> None:
        wanted = np.eye(len(asked.varied))[target] if asked.loss == "cross_entropy" else target.astype(np.float64)
        self.weight = weight
        self.root = np.sqrt(weight / weight.mean())[:, None]
        share = (weight / weight.sum())[:, None]
        self.wanted = self.root * (wanted - (share * wanted).sum(axis=0))
        self.products = []
        for block in range(blocks.max() + 1):
            own = x[:, blocks == block].astype(np.float64)
            own = self.root * (own - (share * own).sum(axis=0))
            self.products.append(own @ own.T / own.shape[1])

    def errors(self, factors: np.ndarray) -> np.ndarray:
        """Return the squared error of each row, summed over the outputs, under the best penalty `(rows,)`."""
        inner = sum(factor**2 * one for factor, one in zip(factors, self.products, strict=True) if factor)
        values, vectors = np.linalg.eigh(np.asarray(inner))
        values = np.maximum(values, 0.0) / max(float(values.mean()), 1e-12)
        turned, squares = vectors.T @ self.wanted, vectors**2
        constant = self.root[:, 0] ** 2 / (self.root**2).sum()  # of the mean, which is fitted too
        found = []
        for penalty in PENALTIES:
            shrunk = values / (values + penalty)
            left_out = np.maximum(1.0 - squares @ shrunk - constant, 1e-9)
            residual = (self.wanted - vectors @ (shrunk[:, None] * turned)) / left_out[:, None]
            found.append((residual**2).sum(axis=1) / self.root[:, 0] ** 2)
        return min(found, key=lambda each: float(np.average(each, weights=self.weight)))
