"""Intervals of scores: rows are drawn again with replacement (Efron 1979), and percentiles of their scores are taken.

Cost: up to 20,000 rows 1,000 draws are made, so that time grows with the rows. Beyond, as many draws are made as come
to 20 million drawn rows, and time stays about the same, down to 100 draws at 200,000 rows; from there on it grows with
the rows again. Metrics that are computed draw by draw take 200 draws at most. A row that costs more, such as an image
with its boxes, counts for as many.

The draws depend on the number of rows alone, so that reports of two predictors on the same rows have the same draws.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from thermocline.contracts.reporting import Redrawn

COVERAGE = 0.95
MOST_DRAWS = 1_000
LEAST_DRAWS = 100
MOST_SLOW_DRAWS = 200
MOST_DRAWN_ROWS = 20_000_000
LEAST_ROWS = 10
"""Of fewer rows no interval is given: percentiles of so few different draws say little."""

LEAST_DEFINED = 0.5
"""A metric that fewer draws define has no interval."""

SEED = 20_161
CHUNK = 1_000_000  # drawn rows that are held at once


def draws_of(rows: int, size: int = 1) -> int:
    """Return how many draws are made.

    Args:
        rows: Number of rows.
        size: What one draw costs, in rows; at least their number counts.

    Example:
        >>> draws_of(500), draws_of(100_000), draws_of(10_000_000)
        (1000, 200, 100)
    """
    return int(np.clip(MOST_DRAWN_ROWS // max(rows, size, 1), LEAST_DRAWS, MOST_DRAWS))


def intervals(redrawn: Redrawn, rows: int, metrics: Sequence[Any]) -> dict[str, tuple[float, float]]:
    """Return the 95 % interval of each metric that enough draws define.

    Args:
        redrawn: How drawn rows are scored.
        rows: Number of rows.
        metrics: Names, or metrics of the caller's own.
    """
    if rows < LEAST_ROWS:
        return {}
    names = {one: one if isinstance(one, str) else one.name for one in metrics}
    found: dict[str, list[np.ndarray]] = {name: [] for name in names.values()}
    taken = 0
    for counts in _drawn(rows, draws_of(rows, redrawn.size), redrawn.size):
        left = max(0, MOST_SLOW_DRAWS - taken)
        fast = [one for one, name in names.items() if name not in redrawn.slow]
        slow = [one for one, name in names.items() if name in redrawn.slow]
        scores = dict(redrawn.compute(counts, fast))
        if slow and left:
            scores |= redrawn.compute(counts[:left], slow)
        for name, values in scores.items():
            found[name].append(values)
        taken += len(counts)
    return {name: ends for name, parts in found.items() if parts and (ends := _ends(np.concatenate(parts)))}


def _drawn(rows: int, draws: int, size: int) -> Iterator[np.ndarray]:
    """Yield how often each row was drawn, int64 `(some draws, rows)`; how many at once changes nothing."""
    rng = np.random.default_rng([SEED, rows])
    chunk = max(1, CHUNK // max(rows, size))
    for begin in range(0, draws, chunk):
        some = min(chunk, draws - begin)
        counts = np.empty((some, rows), dtype=np.int64)
        for place in range(some):
            counts[place] = np.bincount(rng.integers(rows, size=rows), minlength=rows)
        yield counts


def _ends(values: np.ndarray) -> tuple[float, float] | None:
    defined = values[np.isfinite(values)]
    if len(defined) < LEAST_DEFINED * len(values) or not len(defined):
        return None
    low, high = np.quantile(defined, [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2])
    return float(low), float(high)
