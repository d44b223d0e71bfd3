"""How much each block of features counts in a probe: towers, and image columns, of very different width.

Under one penalty a block of many features outweighs one of few. Blocks are scaled to equal norm, and by a factor each,
which the errors of rows left out decide.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from thermocline.problems.rowwise.left_out import LeftOut
from thermocline.problems.rowwise.probe_solvers import Asked

ROWS = 600  # that the factors are chosen on, at most
FACTORS = (0.0, 1 / 3, 3.0)  # tried on a block, times what it has
PASSES = 2  # over the blocks


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
    target = asked.target[rows]
    wanted = np.eye(len(asked.varied))[target] if asked.loss == "cross_entropy" else target.astype(np.float64)
    left_out = LeftOut([x[rows][:, blocks == block] for block in range(len(sizes))], wanted, weight[rows])
    factors = _factors(left_out, len(sizes), seconds_left)
    shares = factors / np.sqrt((factors**2).mean())
    scales: np.ndarray = (shares * np.sqrt(len(blocks) / (len(sizes) * sizes)))[blocks]
    return scales


def _factors(left_out: LeftOut, count: int, seconds_left: Callable[[], float]) -> np.ndarray:
    """Return a factor for each block: 1, unless held-out rows are predicted better with another."""
    factors = np.ones(count)
    best = left_out.errors(factors)
    for _ in range(PASSES):
        before = factors
        for block in range(count):
            options = [np.where(np.arange(count) == block, factors * factor, factors) for factor in FACTORS]
            options = [one for one in options if one.any() and not np.array_equal(one, factors)]
            if seconds_left() <= 0 or not options:
                return factors
            tried = [left_out.errors(one) for one in options]
            means = [float(np.average(errors, weights=left_out.weight)) for errors in tried]
            least = int(np.argmin(means))
            if means[least] < float(np.average(best, weights=left_out.weight)):
                factors, best = options[least], tried[least]
        if np.array_equal(before, factors):
            break
    return factors
