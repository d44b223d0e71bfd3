"""Splitting rows into training and validation, classes kept in proportion: a function of the seed."""

from __future__ import annotations

import numpy as np

from thermocline.data.splitting import SPLIT_STREAM, random_rows, size_note, valid_share
from thermocline.problems.rowwise.target import RowTarget


def split_rows(
    target: RowTarget, encoded: np.ndarray, fraction: float | None, *, seed: int
) -> tuple[np.ndarray, np.ndarray, str]:
    """Split row positions into training and validation, classes kept in proportion.

    Every class keeps a row in training, where there are rows enough to have one left to validate. A share that was
    asked for is split off even where there are more classes than rows to validate; one that was not is raised to a row
    of each class.

    Args:
        target: Tells whether there are classes.
        encoded: Encoded labels.
        fraction: Share for validation, or `None` to choose it from the number of rows.
        seed: The run's seed.

    Returns:
        Sorted training positions, sorted validation positions, and why the share was chosen, with what keeps it from
        being the one that was asked for.
    """
    n = len(encoded)
    share, why = valid_share(n, fraction)
    count = int(np.clip(round(share * n), 1, n - 1))
    rows = np.arange(n)
    if target.problem_type in ("binary", "multiclass"):
        held = _stratified(encoded, count, obeyed=fraction is not None, seed=seed)
        why += _class_note(encoded, held, count)
    else:
        held = random_rows(n, count, seed)
    return np.setdiff1d(rows, held), held, why + size_note(n, len(held), fraction)


def _stratified(encoded: np.ndarray, count: int, *, obeyed: bool, seed: int) -> np.ndarray:
    """Return `count` sorted positions, fewer where classes would be lost; not `obeyed`, at least one of each class."""
    from sklearn.model_selection import train_test_split

    n = len(encoded)
    sizes = np.bincount(encoded)
    splittable = np.flatnonzero(sizes[encoded] > 1)
    classes = int((sizes > 1).sum())
    count = min(count if obeyed else max(count, classes), len(splittable) - classes)
    if not classes:
        held = random_rows(n, 1, seed)
    elif count < classes:
        held = np.zeros(0, dtype=np.int64)
    else:
        _, held = train_test_split(splittable, test_size=count, stratify=encoded[splittable], random_state=seed)
        held = _with_all_classes_in_training(encoded, held)
    return np.sort(_filled(encoded, held, count, seed) if obeyed else held)


def _with_all_classes_in_training(encoded: np.ndarray, held: np.ndarray) -> np.ndarray:
    """Give back one row of every class that validation would hold all of, as long as a row is left to validate."""
    lost = np.bincount(encoded[held], minlength=encoded.max() + 1) == np.bincount(encoded)
    _, first = np.unique(encoded[held], return_index=True)
    back = [i for i in first if lost[encoded[held[i]]]]
    return np.delete(held, back) if len(back) < len(held) else held[:1]


def _filled(encoded: np.ndarray, held: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Return `held` and rows drawn until there are `count`, such that each class keeps a row in training."""
    chosen = [int(row) for row in held]
    left = np.bincount(encoded) - np.bincount(encoded[held], minlength=encoded.max() + 1)
    for row in np.random.default_rng([seed, SPLIT_STREAM]).permutation(np.setdiff1d(np.arange(len(encoded)), held)):
        if len(chosen) < count and left[encoded[row]] > 1:
            chosen.append(int(row))
            left[encoded[row]] -= 1
    return np.array(chosen, dtype=np.int64)


def _class_note(encoded: np.ndarray, held: np.ndarray, count: int) -> str:
    """Return what classes did to the number of rows that validate, or an empty string."""
    classes, scored = len(np.unique(encoded)), len(np.unique(encoded[held]))
    if len(held) > count:
        return f", and a row of each of {scored:,} classes validates"
    if len(held) < count:
        return f", but each of {classes:,} classes keeps a row in training where it can"
    if count < int((np.bincount(encoded) > 1).sum()):
        return f"; fewer than the {classes:,} classes, of which {scored:,} are scored"
    return ""
