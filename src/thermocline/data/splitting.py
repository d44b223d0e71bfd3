"""Splitting rows into training and validation: a function of the seed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from thermocline.problems.rowwise.task import Task


def split_rows(
    task: Task, target: np.ndarray, fraction: float | None, *, seed: int
) -> tuple[np.ndarray, np.ndarray, str]:
    """Split row positions into training and validation, classes kept in proportion.

    Every class keeps a row in training, where there are rows enough to have one left to validate.

    Args:
        task: Tells whether there are classes.
        target: Encoded labels.
        fraction: Share for validation, or `None` to choose it from the number of rows.
        seed: The run's seed.

    Returns:
        Sorted training positions, sorted validation positions, and why the share was chosen.
    """
    from sklearn.model_selection import train_test_split

    n = len(target)
    share, why = _share(n, fraction)
    count = int(np.clip(round(share * n), 1, n - 1))
    rows = np.arange(n)
    if task.problem_type in ("binary", "multiclass"):
        sizes = np.bincount(target, minlength=task.width)
        splittable = rows[sizes[target] > 1]
        count = min(max(count, int((sizes > 1).sum())), len(splittable) - int((sizes > 1).sum()))
        if count >= int((sizes > 1).sum()) > 0:
            _, held = train_test_split(splittable, test_size=count, stratify=target[splittable], random_state=seed)
        else:
            held = _random_rows(n, max(count, 1), seed)
        held = np.sort(_with_all_classes_in_training(target, held))
    else:
        held = _random_rows(n, count, seed)
    return np.setdiff1d(rows, held), held, why


def split_boxes(
    labels: Sequence[Sequence[Any]], fraction: float | None, *, seed: int
) -> tuple[np.ndarray, np.ndarray, str]:
    """Split images into training and validation: images with boxes and those without alike.

    Every class keeps an image in training, and validation has boxes.

    Args:
        labels: For each image the classes of its boxes; at least two images have some.
        fraction: As in `split_rows`.
        seed: The run's seed.

    Returns:
        As `split_rows`.
    """
    share, why = _share(len(labels), fraction)
    some = np.array([len(own) > 0 for own in labels], dtype=bool)
    held: list[int] = []
    for number, rows in enumerate((np.flatnonzero(some), np.flatnonzero(~some))):
        least = 1 if number == 0 else 0
        count = int(np.clip(round(share * len(rows)), least, max(len(rows) - least, 0)))
        order = np.random.default_rng([seed, 0x5B11, number]).permutation(rows)
        held += _spared(order, labels, count) or [int(row) for row in order[:least]]
    return np.setdiff1d(np.arange(len(labels)), held), np.sort(np.array(held, dtype=np.int64)), why


def _spared(order: np.ndarray, labels: Sequence[Sequence[Any]], count: int) -> list[int]:
    """The first rows whose classes all occur in another row that is left."""
    left = Counter(label for row in order for label in set(labels[row]))
    chosen: list[int] = []
    for row in order:
        own = set(labels[row])
        if len(chosen) < count and all(left[label] > 1 for label in own):
            chosen.append(int(row))
            left.subtract(own)
    return chosen


def _share(n: int, fraction: float | None) -> tuple[float, str]:
    """The share of rows for validation, and why."""
    if fraction is not None:
        return fraction, "given"
    # at least 150 rows where a fifth of the data has them, a tenth up to 500, a twentieth of very many
    return float(np.clip(max(150 / n, min(0.1, 500 / n)), 0.05, 0.2)), f"{n} rows"


def _random_rows(n: int, count: int, seed: int) -> np.ndarray:
    return np.sort(np.random.default_rng([seed, 0x5B11]).permutation(n)[:count])


def _with_all_classes_in_training(target: np.ndarray, held: np.ndarray) -> np.ndarray:
    """Give back one row of every class that validation would hold all of, as long as a row is left to validate."""
    lost = np.bincount(target[held], minlength=target.max() + 1) == np.bincount(target)
    _, first = np.unique(target[held], return_index=True)
    back = [i for i in first if lost[target[held[i]]]]
    return np.delete(held, back) if len(back) < len(held) else held[:1]
