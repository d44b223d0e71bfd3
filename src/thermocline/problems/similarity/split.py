"""Splitting pairs into training and validation: a function of the seed, classes kept in proportion."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from thermocline.data.splitting import SPLIT_STREAM, random_rows, size_note, valid_share
from thermocline.problems.similarity.info import BINARY
from thermocline.problems.similarity.target import PairTarget


def split_pairs(
    frame: pd.DataFrame, target: PairTarget, value: np.ndarray, fraction: float | None, *, seed: int
) -> tuple[np.ndarray, np.ndarray, str]:
    """Split row positions into training and validation; pairs with the same query stay together.

    Otherwise a query would be validated on responses whose rivals it was trained with. Where nearly all rows have one
    query, rows are split one by one.

    Args:
        frame: The pairs.
        target: Tells the query, and whether there are classes.
        value: How much each pair matches, `(rows,)`.
        fraction: Share for validation, or None to choose it.
        seed: The run's seed.

    Returns:
        Sorted training positions, sorted validation positions, and why the share was chosen.
    """
    n = len(frame)
    share, why = valid_share(n, fraction)
    count = int(np.clip(round(share * n), 1, max(n - 1, 1)))
    groups = _groups(frame[target.roles["query"]])
    if int(groups.max(initial=0)) + 1 < max(2, 1 / share):
        groups = np.arange(n)
    elif len(np.unique(groups)) < n:
        why += ", pairs of one query together"
    held = _held(groups, count, seed)
    if target.form == BINARY and len(np.unique(value[held])) < 2:
        held = _one_of_each(value, held, count, seed)
    return np.setdiff1d(np.arange(n), held), held, why + size_note(n, len(held), fraction)


def _groups(cells: pd.Series[Any]) -> np.ndarray:
    keys = [cell.strip() if isinstance(cell, str) else id(cell) for cell in cells]
    return np.asarray(pd.factorize(pd.Series(keys, dtype=object))[0])


def _held(groups: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Return sorted positions of whole groups, about `count`, at least one and not all."""
    sizes = np.bincount(groups)
    drawn, total = random_order(len(sizes), seed), 0
    held: list[int] = []
    for group in drawn:
        if held and total + sizes[group] > count:
            continue
        held.append(group)
        total += int(sizes[group])
        if total >= count:
            break
    return np.flatnonzero(np.isin(groups, held))


def random_order(n: int, seed: int) -> np.ndarray:
    """Return the numbers below `n` in a drawn order."""
    return np.random.default_rng([seed, SPLIT_STREAM]).permutation(n)


def _one_of_each(value: np.ndarray, held: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Return positions that hold both classes, drawn class by class, where groups hold one alone."""
    rows = [np.flatnonzero(value == one) for one in np.unique(value)]
    if min(map(len, rows)) < 2:
        return held
    shares = [max(1, round(count * len(one) / len(value))) for one in rows]
    drawn = [one[random_rows(len(one), min(size, len(one) - 1), seed)] for one, size in zip(rows, shares, strict=True)]
    return np.sort(np.concatenate(drawn))
