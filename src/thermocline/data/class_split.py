"""The split of rows that each have several labels or none into training and validation, a function of the seed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from thermocline.data.splitting import SPLIT_STREAM, size_note, valid_share


def split_with_classes(
    labels: Sequence[Sequence[Any]],
    fraction: float | None,
    *,
    seed: int,
    same: Sequence[Hashable] = (),
    what: str = "row",
    of_same: str = "text",
) -> tuple[np.ndarray, np.ndarray, str]:
    """Split rows into training and validation: rows with labels and those without alike.

    Every class keeps a row in training, and validation has labels. Rows of the same content stay together.

    Args:
        labels: For each row the classes of what it holds; at least two rows have some.
        fraction: Share for validation, or `None` to choose it from the number of rows.
        seed: The run's seed.
        same: What is equal for rows of the same content; by default each row has its own.
        what: What a row is.
        of_same: What its content is.

    Returns:
        Sorted training positions, sorted validation positions, and why the share was chosen, with what keeps it from
        being the one that was asked for.
    """
    share, why = valid_share(len(labels), fraction)
    keys = same or range(len(labels))
    rows_of: dict[Hashable, list[int]] = {}
    for row, key in enumerate(keys):
        rows_of.setdefault(key, []).append(row)
    firsts = np.array([rows[0] for rows in rows_of.values()], dtype=np.int64)
    some = np.array([len(labels[row]) > 0 for row in firsts], dtype=bool)
    held: list[int] = []
    for number, rows in enumerate((firsts[some], firsts[~some])):
        least = 1 if number == 0 else 0
        count = int(np.clip(round(share * len(rows)), least, max(len(rows) - least, 0)))
        order = np.random.default_rng([seed, SPLIT_STREAM, number]).permutation(rows)
        held += _leaving_all_classes(order, labels, count) or [int(row) for row in order[:least]]
    held = [row for first in held for row in rows_of[keys[first]]]
    if len(firsts) < len(labels):
        why += f", of {len(firsts):,} {of_same}s, the rows of each kept together"
    why += _class_note(labels, len(held), share, what)
    why += size_note(len(labels), len(held), fraction)
    return np.setdiff1d(np.arange(len(labels)), held), np.sort(np.array(held, dtype=np.int64)), why


def _class_note(labels: Sequence[Sequence[Any]], held: int, share: float, what: str) -> str:
    """Return what classes did to the number of rows that validate, or an empty string."""
    if share * len(labels) - held <= 1:
        return ""
    article = "an" if what[0] in "aeiou" else "a"
    classes = len({label for own in labels for label in own})
    return f", but each of {classes:,} classes keeps {article} {what} in training"


def _leaving_all_classes(order: np.ndarray, labels: Sequence[Sequence[Any]], count: int) -> list[int]:
    """Return the first rows, such that each class still occurs in a row that is not among them."""
    left = Counter(label for row in order for label in set(labels[row]))
    chosen: list[int] = []
    for row in order:
        own = set(labels[row])
        if len(chosen) < count and all(left[label] > 1 for label in own):
            chosen.append(int(row))
            left.subtract(own)
    return chosen
