"""The split of images into training and validation, a function of the seed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from thermocline.data.splitting import SPLIT_STREAM, size_note, valid_share


def split_boxes(
    labels: Sequence[Sequence[Any]], fraction: float | None, *, seed: int, pictures: Sequence[Hashable] = ()
) -> tuple[np.ndarray, np.ndarray, str]:
    """Split images into training and validation: images with boxes and those without alike.

    Every class keeps an image in training, and validation has boxes. Rows of one picture stay together.

    Args:
        labels: For each image the classes of its boxes; at least two images have some.
        fraction: Share for validation, or `None` to choose it from the number of images.
        seed: The run's seed.
        pictures: What is equal for rows of the same picture; by default each row has its own.

    Returns:
        Sorted training positions, sorted validation positions, and why the share was chosen, with what keeps it from
        being the one that was asked for.
    """
    share, why = valid_share(len(labels), fraction)
    keys = pictures or range(len(labels))
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
        why += f", of {len(firsts):,} pictures, the rows of each kept together"
    why += _class_note(labels, len(held), share)
    why += size_note(len(labels), len(held), fraction)
    return np.setdiff1d(np.arange(len(labels)), held), np.sort(np.array(held, dtype=np.int64)), why


def _class_note(labels: Sequence[Sequence[Any]], held: int, share: float) -> str:
    """Return what classes did to the number of images that validate, or an empty string."""
    if share * len(labels) - held <= 1:
        return ""
    classes = len({label for own in labels for label in own})
    return f", but each of {classes:,} classes keeps an image in training"


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
