"""Which training rows a probe is fitted to: all of them, or as many as its memory allows, drawn by class."""

from __future__ import annotations

import numpy as np

from thermocline.data.memory_budget import GIGABYTE
from thermocline.problems.rowwise.target import RowTarget

MOST_ROWS = 50_000
MOST_BYTES = 512_000_000
FEWEST_ROWS = 100
FEATURE_BYTES = 5  # of a feature of a row: float32, and what the solver takes besides
OUTPUT_BYTES = 40  # of an output of a row, in the solver
ROW_STREAM = 0x5A3B


def row_bytes(target: RowTarget, width: int) -> int:
    """Return the bytes that a probe takes a row.

    Args:
        target: What the label asks for.
        width: Number of features.
    """
    return FEATURE_BYTES * width + OUTPUT_BYTES * target.width


def most_rows(target: RowTarget, width: int, gigabytes: float | None) -> int:
    """Return how many rows a probe is fitted to at most.

    Args:
        target: What the label asks for.
        width: Number of features.
        gigabytes: `env.cache_memory`: a smaller limit on the memory than the usual one.
    """
    size = MOST_BYTES if gigabytes is None else min(MOST_BYTES, int(gigabytes * GIGABYTE))
    return max(FEWEST_ROWS, min(MOST_ROWS, size // row_bytes(target, width)))


def drawn_rows(target: RowTarget, encoded: np.ndarray, rows: np.ndarray, most: int, seed: int) -> np.ndarray:
    """Return sorted positions of `most` rows, or all where there are no more: a function of the seed.

    Classes keep their shares, but for one row that each class keeps in any case. Rows with several labels go by the
    rarest of theirs.

    Args:
        target: What the label asks for.
        encoded: Encoded labels of all rows.
        rows: Positions to draw from, sorted.
        most: How many.
        seed: The run's seed.
    """
    if len(rows) <= most:
        return rows
    order = np.random.default_rng([seed, ROW_STREAM]).permutation(len(rows))
    group = groups_of(target, encoded[rows])[order]
    by_group = np.argsort(group, kind="stable")
    sizes = np.bincount(group)
    place = np.empty(len(rows), dtype=np.int64)  # of a row within its group
    place[by_group] = np.arange(len(rows)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    first = np.lexsort((order, place / sizes[group], place > 0))  # one of each group, then evenly from all
    return np.sort(rows[order[first[:most]]])


def groups_of(target: RowTarget, encoded: np.ndarray) -> np.ndarray:
    """Return a number for each row, int64 `(rows,)`: its class, or the rarity of its rarest label; 0 for numbers."""
    if target.problem_type == "regression":
        return np.zeros(len(encoded), dtype=np.int64)
    if target.problem_type != "multilabel":
        return np.asarray(encoded, dtype=np.int64)
    counts = encoded.sum(axis=0)
    rarity = np.argsort(np.argsort(counts, kind="stable"), kind="stable")  # 0 is the rarest
    ranked = np.where(encoded > 0.5, rarity, encoded.shape[1])
    return np.asarray(ranked.min(axis=1), dtype=np.int64)
