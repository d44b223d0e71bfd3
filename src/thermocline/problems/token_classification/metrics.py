"""Scores of whole entities: one counts as found where its characters and its class are the true ones.

They are those of seqeval (Nakayama 2018) in its strict mode with IOB2, and of conlleval (Tjong Kim Sang and De Meulder
2003), for entities of whole tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from thermocline.problems.token_classification.spans import Span

PER_CLASS = "per_class"
"""Asked for among metrics: precision, recall and F1 of each class."""

MACRO = "_macro"
Key = tuple[int, int, Any]


def keys_of(entities: Iterable[Mapping[str, Any] | Span]) -> set[Key]:
    """Return entities as start, end and label."""
    return {
        (one.start, one.end, one.label) if isinstance(one, Span) else (one["start"], one["end"], one["label"])
        for one in entities
    }


def counts_of(true: Sequence[Any], found: Sequence[Any]) -> tuple[list[Any], np.ndarray]:
    """Return classes, and how many of their entities are right, found and true in each row.

    Args:
        true: For each row its entities.
        found: For each row those that were found.

    Returns:
        The classes that occur, sorted by name, and int64 `(rows, classes, 3)`.
    """
    pairs = [(keys_of(own), keys_of(said)) for own, said in zip(true, found, strict=True)]
    classes = sorted({key[2] for pair in pairs for keys in pair for key in keys}, key=str)
    place = {label: number for number, label in enumerate(classes)}
    counts = np.zeros((len(pairs), len(classes), 3), dtype=np.int64)
    for row, (own, said) in enumerate(pairs):
        for at, keys in enumerate((own & said, said, own)):
            for key in keys:
                counts[row, place[key[2]], at] += 1
    return classes, counts


def ratios(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return precision, recall and F1 of counts `(…, 3)`, 0 where a denominator is."""
    right, said, true = (counts[..., place].astype(np.float64) for place in range(3))
    with np.errstate(divide="ignore", invalid="ignore"):
        precision = np.where(said > 0, right / said, 0.0)
        recall = np.where(true > 0, right / true, 0.0)
        both = precision + recall
        f1 = np.where(both > 0, 2 * precision * recall / both, 0.0)
    return precision, recall, f1


def averaged(counts: np.ndarray, metric: str) -> np.ndarray:
    """Return a score of counts `(…, classes, 3)`; NaN where nothing is true and nothing was found.

    A macro average is over the classes that are true or found somewhere.
    """
    at = next(place for place, name in enumerate(("precision", "recall", "f1")) if name in metric)
    there = counts[..., 1:].sum(axis=-1) > 0
    with np.errstate(invalid="ignore"):
        if metric.endswith(MACRO):
            each = np.where(there, ratios(counts)[at], 0.0)
            return np.asarray(each.sum(axis=-1) / np.where(there.any(axis=-1), there.sum(axis=-1), np.nan))
        return np.asarray(np.where(there.any(axis=-1), ratios(counts.sum(axis=-2))[at], np.nan))


def scores_of(true: Sequence[Any], found: Sequence[Any], metrics: Sequence[str]) -> dict[str, float]:
    """Return scores by name; `per_class` stands for `entity_f1/<class>` and so on.

    Args:
        true: For each row its entities: `Span`s.
        found: For each row those that were found: dicts of start, end and label.
        metrics: Canonical names.
    """
    classes, counts = counts_of(true, found)
    total = counts.sum(axis=0)
    out: dict[str, float] = {}
    for name in metrics:
        if name != PER_CLASS:
            out[name] = float(averaged(total, name))
            continue
        for of, values in zip(("precision", "recall", "f1"), ratios(total), strict=True):
            out |= {f"entity_{of}/{label}": float(value) for label, value in zip(classes, values, strict=True)}
    return out
