"""Which rows make up a batch, and in what order: pure functions of (seed, epoch) and the lengths of the rows."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

PADDED = 1.04  # tokens with padding per token that the order of the rows may cause, for the sake of shuffling
BEYOND = 1.25  # where sorted rows have more than that (small frames): how much more is allowed, relative to theirs
HALVINGS = 8  # in the search for how far rows may be shuffled


def epoch_order(n_rows: int, batch_size: int, *, seed: int, epoch: int, lengths: np.ndarray | None) -> list[np.ndarray]:
    """Return the row positions of every batch of an epoch.

    Rows are shuffled. With `lengths` they are then sorted by length, each length moved at random by up to a factor
    that is chosen as large as `PADDED` allows; so a batch holds rows of like length, and rows meet others in every
    epoch. The short batch lies at a random place among the lengths (at the end it would always hold the longest rows),
    and the batches are shuffled. Rows of one length are in random order. The number of batches does not depend on
    `lengths`. A batch of one row joins another (BatchNorm has no statistics of a single row).

    Args:
        n_rows: Rows in all.
        batch_size: Rows a batch.
        seed: The run's seed.
        epoch: Counted from 0.
        lengths: Tokens that each row takes up, int64 `(n_rows,)`, at least 1; or `None`.
    """
    rng = np.random.default_rng([seed, epoch, 0x0EDE])
    order = rng.permutation(n_rows)
    sizes = _sizes(n_rows, batch_size)
    if lengths is None or lengths.min() == lengths.max():
        return np.split(order, np.cumsum(sizes)[:-1])
    rng.shuffle(sizes)
    ends = np.cumsum(sizes)
    moves = rng.uniform(-1, 1, n_rows)
    logs = np.log(lengths[order])

    def sorted_by(far: float) -> np.ndarray:
        return order[np.argsort(logs + far * moves, kind="stable")]

    def padded(rows: np.ndarray) -> float:
        longest = np.maximum.reduceat(lengths[rows], ends - sizes)
        return float((longest * sizes).sum() / lengths.sum())

    batches = np.split(_as_shuffled_as(sorted_by, padded, order), ends[:-1])
    return [batches[i] for i in rng.permutation(len(batches))]


def _as_shuffled_as(
    sorted_by: Callable[[float], np.ndarray], padded: Callable[[np.ndarray], float], shuffled: np.ndarray
) -> np.ndarray:
    """Search, by bisection, for the most shuffled order whose padding is allowed."""
    best = sorted_by(0.0)
    least = padded(best)
    allowed = PADDED + BEYOND * max(0.0, least - PADDED)
    if padded(shuffled) <= allowed:
        return shuffled
    near, far = 0.0, 1.0
    for _ in range(HALVINGS):
        middle = (near + far) / 2
        rows = sorted_by(middle)
        if padded(rows) <= allowed:
            best, near = rows, middle
        else:
            far = middle
    return best


def _sizes(n_rows: int, batch_size: int) -> np.ndarray:
    """Return the number of rows of each batch: `batch_size`, and the rest in the last."""
    whole, left = divmod(n_rows, batch_size)
    sizes = [batch_size] * whole + ([left] if left else [])
    if len(sizes) > 1 and sizes[-1] == 1:
        sizes[-2:] = [sizes[-2] + 1]
    return np.array(sizes, dtype=np.int64)


def micro_batches(
    rows: np.ndarray, *, most_rows: int, most_tokens: int | None = None, lengths: np.ndarray | None = None
) -> list[np.ndarray]:
    """Split the rows of an optimizer step into parts that are passed through the model at once.

    Without `most_tokens` the parts are of nearly equal size and the rows stay in order. With it the rows are sorted
    from long to short, and a part takes as many as rows times the longest of them allow: no cut has fewer parts.

    Args:
        rows: Row positions of the step, int64 `(rows,)`.
        most_rows: The most rows a part.
        most_tokens: The most tokens a part, padding included. A row that is longer goes alone.
        lengths: Tokens that each row of the frame takes up (not only those of the step), or `None` without text.

    Returns:
        The parts, each row in one of them. A last part of one row takes one more from the part before it, where that
        keeps two (BatchNorm has no statistics of a single row).
    """
    if most_tokens is None or lengths is None:
        if len(rows) <= most_rows:
            return [rows]
        return np.array_split(rows, -(-len(rows) // most_rows))
    rows = rows[np.argsort(-lengths[rows], kind="stable")]
    starts, begin = [], 0
    while begin < len(rows):
        starts.append(begin)
        begin += max(1, min(most_rows, most_tokens // int(lengths[rows[begin]])))
    if len(starts) > 1 and starts[-1] == len(rows) - 1 and starts[-1] - starts[-2] > 2:
        starts[-1] -= 1  # it fits: the part before held more rows that are no shorter
    return np.split(rows, starts[1:])


def inference_order(n_rows: int, batch_size: int, lengths: np.ndarray | None) -> list[np.ndarray]:
    """Return batches for a pass without training: from long to short where there is text, else in order.

    Args:
        n_rows: Rows in all.
        batch_size: Rows a batch.
        lengths: Tokens that each row takes up, or `None`.
    """
    order = np.arange(n_rows) if lengths is None else np.argsort(-lengths, kind="stable")
    return [order[i : i + batch_size] for i in range(0, n_rows, batch_size)]
