"""Scores of semantic segmentation, from a confusion matrix of pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

PER_CLASS = "per_class"
"""Asked for among metrics: the intersection over union of each class."""


def confusion(truth: np.ndarray, found: np.ndarray, classes: int) -> np.ndarray:
    """Return how many pixels of each true class were given each class, int64 `(classes, classes)`.

    Args:
        truth: Positions of classes; those below 0 are of no class, and left out.
        found: Positions of classes, of the same shape.
        classes: How many there are.
    """
    valid = truth >= 0
    pairs = truth[valid].astype(np.int64) * classes + found[valid].astype(np.int64)
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def per_class(counts: np.ndarray) -> dict[str, np.ndarray]:
    """Return `iou`, `accuracy` (recall) and `dice` of each class, float64 `(classes,)`.

    NaN where a class is neither true nor found, as in the mean of PASCAL VOC; accuracy also where it is never true.

    Args:
        counts: As `confusion` returns them, or the sum of several.
    """
    right = np.diag(counts).astype(np.float64)
    true, found = counts.sum(axis=1).astype(np.float64), counts.sum(axis=0).astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        return {
            "iou": right / (true + found - right),
            "accuracy": right / true,
            "dice": 2 * right / (true + found),
        }


def scores_of(counts: np.ndarray, names: Sequence[str], classes: Sequence[Any]) -> dict[str, float]:
    """Return scores by name; NaN where no pixel has a class.

    Args:
        counts: As `confusion` returns them.
        names: Names of metrics, and `per_class`.
        classes: The classes, for the names of their scores.
    """
    each = per_class(counts)
    means = {"mean_iou": each["iou"], "mean_pixel_accuracy": each["accuracy"], "mean_dice": each["dice"]}
    total = counts.sum()
    out: dict[str, float] = {}
    for name in names:
        if name == PER_CLASS:
            out |= {f"iou/{label}": float(value) for label, value in zip(classes, each["iou"], strict=True)}
        elif name == "pixel_accuracy":
            out[name] = float(np.diag(counts).sum() / total) if total else float("nan")
        else:
            known = means[name][np.isfinite(means[name])]
            out[name] = float(known.mean()) if total and len(known) else float("nan")
    return out
