"""Tables and pictures of classes: the classes one by one, confusions, calibration, and the threshold of two classes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from thermocline.problems.rowwise.metrics import score
from thermocline.problems.rowwise.redrawn import Scored
from thermocline.report.sections import Curve, Matrix, Section, Table

MOST_CLASSES = 12
"""Classes of a confusion matrix; of more, those with the most mistakes, and the others together."""

MOST_PAIRS = 10
BINS = 10
THRESHOLDS = np.arange(1, 100) / 100
_SHOWN = range(9, 99, 10)  # .1, .2, …

_OTHERS = "(others)"


def class_sections(rows: Scored) -> tuple[Section, ...]:
    """Return the sections of two classes or more."""
    found: list[Section] = [_each(rows), _confusions(rows)]
    if len(rows.target.classes) > 2:
        found += _pairs(rows)
    found.append(_calibration(rows))
    if rows.target.problem_type == "binary":
        found += _thresholds(rows)
    return tuple(found)


def _names(rows: Scored) -> list[str]:
    """The classes in the order of `rows.truth`, in which the positive class of two is number 1."""
    names = [str(one) for one in rows.target.classes]
    return names[::-1] if rows.target.problem_type == "binary" and rows.target.positive_code == 0 else names


def _weight(rows: Scored) -> np.ndarray:
    return np.ones(len(rows.encoded)) if rows.weight is None else rows.weight.astype(np.float64)


def counts_of(rows: Scored) -> np.ndarray:
    """Return weights of rows by true and by predicted class, float64 `(classes, classes)`."""
    width = len(rows.target.classes)
    cells = np.bincount(rows.truth * width + rows.chosen, weights=_weight(rows), minlength=width * width)
    return np.asarray(cells.reshape(width, width))


def ratios(right: np.ndarray, said: np.ndarray, true: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return precision, recall and f1, NaN where nothing was said or nothing is true."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return right / said, right / true, 2 * right / (said + true)


def _each(rows: Scored) -> Table:
    """The classification report; of many classes the one with the lowest f1 first."""
    counts, names = counts_of(rows), _names(rows)
    numbers = np.bincount(rows.truth, minlength=len(names))
    precision, recall, f1 = ratios(np.diag(counts), counts.sum(axis=0), counts.sum(axis=1))
    lines = [
        (name, float(p), float(r), float(f), int(n))
        for name, p, r, f, n in zip(names, precision, recall, f1, numbers, strict=True)
    ]
    order = np.arange(len(names))
    note = ""
    if len(names) > Table.most:
        order, note = np.argsort(np.where(numbers > 0, np.nan_to_num(f1), 2.0), kind="stable"), "the lowest f1 first"
    return Table("Classes", ("class", "precision", "recall", "f1", "rows"), tuple(lines[k] for k in order), note)


def _confusions(rows: Scored) -> Matrix:
    """Counts by true and predicted class, folded where there are many."""
    counts, names = counts_of(rows), _names(rows)
    if len(names) <= MOST_CLASSES:
        return Matrix("Confusion matrix", tuple(names), _plain(counts))
    mistakes = counts.sum(axis=0) + counts.sum(axis=1) - 2 * np.diag(counts)
    kept = np.sort(np.argsort(-mistakes, kind="stable")[: MOST_CLASSES - 2])
    place = np.full(len(names), len(kept))
    place[kept] = np.arange(len(kept))
    folded = np.zeros((len(kept) + 1, len(kept) + 1))
    np.add.at(folded, (place[:, None], place[None, :]), counts)
    note = f"the {len(kept)} of {len(names)} classes with the most mistakes; {_OTHERS}: all others together"
    return Matrix("Confusion matrix", (*(names[k] for k in kept), _OTHERS), _plain(folded), note)


def _plain(values: np.ndarray) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(row) for row in values.tolist())


def _pairs(rows: Scored) -> list[Section]:
    """The pairs of classes that are most confused."""
    counts, names = counts_of(rows), _names(rows)
    true = counts.sum(axis=1)
    np.fill_diagonal(counts, 0.0)
    order = [k for k in np.argsort(-counts, axis=None, kind="stable")[:MOST_PAIRS] if counts.flat[k] > 0]
    cells = [(int(k) // len(names), int(k) % len(names)) for k in order]
    lines = [(names[a], names[b], _count(counts[a, b]), f"{100 * counts[a, b] / true[a]:.0f} %") for a, b in cells]
    if not lines:
        return []
    header = ("true", "predicted", "rows", "of the true class")
    return [Table("Classes most confused", header, tuple(lines))]


def _count(value: float) -> float | int:
    return int(value) if float(value).is_integer() else float(value)


# -- probabilities


def reliability(chance: np.ndarray, right: np.ndarray, weight: np.ndarray, name: str, title: str) -> Curve:
    """Return how often rows are right by their probability, in ten bins of equal width (DeGroot and Fienberg 1983).

    Args:
        chance: Probabilities `(rows,)`.
        right: What came true, bool `(rows,)`.
        weight: What each row counts `(rows,)`.
        name: What the probability is of.
        title: The section's.
    """
    place = np.clip((chance * BINS).astype(np.int64), 0, BINS - 1)
    sums, said, came = (
        np.bincount(place, weights=weight * one, minlength=BINS) for one in (np.ones(len(chance)), chance, right)
    )
    numbers, there = np.bincount(place, minlength=BINS), np.flatnonzero(sums > 0)
    x, y = (said[there] / sums[there]).tolist(), (came[there] / sums[there]).tolist()
    lines = [
        (f"{k / BINS:.1f}–{(k + 1) / BINS:.1f}", a, b, int(numbers[k])) for k, a, b in zip(there, x, y, strict=True)
    ]
    table = Table(title, ("bin", "mean probability", "share that is true", "rows"), tuple(lines))
    axes = (f"probability of {name}", "share that is true")
    return Curve(title, axes, tuple(x), {"observed": tuple(y)}, diagonal=True, table=table, points=True)


def _calibration(rows: Scored) -> Curve:
    error = score(rows.target, "ece", rows.encoded, rows.outputs, rows.weight)["ece"]
    if rows.target.problem_type == "binary":
        name, chance, right = f"{_names(rows)[1]!r}", rows.chances[:, 1], rows.truth == 1
    else:
        name, chance = "the most probable class", rows.chances.max(axis=1)
        right = rows.chances.argmax(axis=1) == rows.truth
    made = reliability(chance, right, _weight(rows), name, "Calibration")
    assert made.table is not None
    note = f"ece {error:.3f}: the expected calibration error of the most probable class, in 15 bins (Guo et al. 2017)"
    return replace(made, table=replace(made.table, note=f"probability of {name}; {note}"))


def _thresholds(rows: Scored) -> list[Section]:
    """Precision, recall and f1 of the positive class by threshold; nothing where no row or every row is positive."""
    positive, chance, weight = rows.truth == 1, rows.chances[:, 1], _weight(rows)
    if not positive.any() or positive.all():
        return []
    used = float(rows.target.threshold or 0.5)
    every = np.append(THRESHOLDS, used)
    order = np.argsort(chance, kind="stable")
    above = np.searchsorted(chance[order], every, side="right")
    said = _above(weight[order], above)
    right = _above((weight * positive)[order], above)
    precision, recall, f1 = ratios(right, said, np.full(len(every), (weight * positive).sum()))
    columns: list[Any] = [one.tolist() for one in (precision, recall, f1)]
    shown = [k for k in _SHOWN if round(every[k], 2) != round(used, 2)]
    lines = [(f"{every[k]:.2f}", *(one[k] for one in columns), "") for k in shown]
    lines.append((f"{used:.2f}", *(one[-1] for one in columns), "used"))
    header = ("threshold", "precision", "recall", "f1", "")
    best = int(np.nanargmax(f1[:-1])) if np.isfinite(f1[:-1]).any() else None
    note = "" if best is None else f"on these rows f1 is highest at {THRESHOLDS[best]:.2f}: {f1[best]:.3f}"
    lines.sort(key=lambda line: float(line[0]))
    table = Table("Threshold", header, tuple(lines), f"positive class {_names(rows)[1]!r}; {note}".rstrip("; "))
    names = ("precision", "recall", "f1")
    drawn = {name: tuple(one[:-1]) for name, one in zip(names, columns, strict=True)}
    marks = {f"used: {used:.2f}": used}
    axes = ("threshold", f"of {_names(rows)[1]!r}")
    return [Curve("Threshold", axes, tuple(THRESHOLDS.tolist()), drawn, marks=marks, table=table)]


def _above(values: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Return sums of the values from each place on."""
    sums = np.append(np.cumsum(values[::-1])[::-1], 0.0)
    return np.asarray(sums[places])
