"""Splitting rows into training and validation, classes kept in proportion: a function of the seed."""

from __future__ import annotations

import numpy as np

from thermocline.data.splitting import random_rows, valid_share
from thermocline.problems.rowwise.target import RowTarget


def split_rows(
    target: RowTarget, encoded: np.ndarray, fraction: float | None, *, seed: int
) -> tuple[np.ndarray, np.ndarray, str]:
    """Split row positions into training and validation, classes kept in proportion.

    Every class keeps a row in training, where there are rows enough to have one left to validate.

    Args:
        target: Tells whether there are classes.
        encoded: Encoded labels.
        fraction: Share for validation, or `None` to choose it from the number of rows.
        seed: The run's seed.

    Returns:
        Sorted training positions, sorted validation positions, and why the share was chosen.
    """
    from sklearn.model_selection import train_test_split

    n = len(encoded)
    share, why = valid_share(n, fraction)
    count = int(np.clip(round(share * n), 1, n - 1))
    rows = np.arange(n)
    if target.problem_type in ("binary", "multiclass"):
        sizes = np.bincount(encoded, minlength=target.width)
        splittable = rows[sizes[encoded] > 1]
        count = min(max(count, int((sizes > 1).sum())), len(splittable) - int((sizes > 1).sum()))
        if count >= int((sizes > 1).sum()) > 0:
            _, held = train_test_split(splittable, test_size=count, stratify=encoded[splittable], random_state=seed)
        else:
            held = random_rows(n, max(count, 1), seed)
        held = np.sort(_with_all_classes_in_training(encoded, held))
    else:
        held = random_rows(n, count, seed)
    return np.setdiff1d(rows, held), held, why


def _with_all_classes_in_training(encoded: np.ndarray, held: np.ndarray) -> np.ndarray:
    """Give back one row of every class that validation would hold all of, as long as a row is left to validate."""
    lost = np.bincount(encoded[held], minlength=encoded.max() + 1) == np.bincount(encoded)
    _, first = np.unique(encoded[held], return_index=True)
    back = [i for i in first if lost[encoded[held[i]]]]
    return np.delete(held, back) if len(back) < len(held) else held[:1]
