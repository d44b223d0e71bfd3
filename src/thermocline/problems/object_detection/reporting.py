"""What a report shows of boxes: average precision by class, scores, kinds of errors; what is known of each image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from thermocline.contracts.reporting import Redrawn, Results, Told
from thermocline.problems.object_detection.error_kinds import (
    IGNORED,
    KINDS,
    MEANINGS,
    RIGHT,
    Judged,
    gains,
    judged,
)
from thermocline.problems.object_detection.matching import (
    OVERLAPS,
    FlatBoxes,
    average_precision,
    by_class,
    matched,
)
from thermocline.report.sections import Bars, Curve, Section, Table

_LEVELS = {"map": slice(None), "map_50": slice(0, 1), "map_75": slice(5, 6)}
"""The overlaps that scores are means over."""

THRESHOLDS = np.arange(1, 100) / 100
_SHOWN = range(9, 99, 10)  # .1, .2, …


@dataclass(frozen=True)
class BoxResults:
    """Boxes found in images, and the true ones.

    Attributes:
        found: Predicted boxes, all that are scored.
        true: True boxes.
        classes: The classes.
        images: Number of images.
        least: The score from which `predict` returns a box.
    """

    found: FlatBoxes
    true: FlatBoxes
    classes: tuple[Any, ...]
    images: int
    least: float

    @classmethod
    def of(cls, results: Results, classes: tuple[Any, ...], least: float) -> BoxResults:
        """Return the boxes of a pass that scores."""
        truths = results.found.labels.truths()
        found, true = FlatBoxes.of(results.outputs, classes), FlatBoxes.of(truths, classes)
        return cls(found, true, classes, len(truths), least)

    @cached_property
    def all(self) -> Judged:
        """What each box is."""
        return judged(self.found, self.true)

    @cached_property
    def returned(self) -> Judged:
        """What each box is that `predict` returns."""
        return judged(self.found.take(self.found.score >= self.least), self.true)

    @cached_property
    def redrawing(self) -> Redrawing:
        """Scores of images that are drawn again."""
        return Redrawing(self)


# -- scores of images that are drawn again


class Redrawing:
    """Scores images that are drawn again: boxes are matched once, and count as often as their image was drawn.

    Args:
        boxes: The boxes.
    """

    def __init__(self, boxes: BoxResults) -> None:
        self._boxes, self._order = boxes, by_class(boxes.found, len(boxes.classes))
        place, ignored = matched(boxes.found, boxes.true)
        self._right, self._counts = (place >= 0) & ~ignored, ~ignored
        real = boxes.true.take(~boxes.true.crowd)
        self._truths = np.zeros((len(boxes.classes), boxes.images))
        np.add.at(self._truths, (real.code, real.image), 1.0)

    def precisions(self, counts: np.ndarray, levels: Sequence[int]) -> np.ndarray:
        """Return average precision by overlap and class, float64 `(levels, classes, draws)`.

        Args:
            counts: How often each image was drawn, `(draws, images)`.
            levels: Positions in `OVERLAPS`.
        """
        values = np.full((len(levels), len(self._order), len(counts)), np.nan)
        for code, order in enumerate(self._order):
            truths = counts @ self._truths[code]
            for at, level in enumerate(levels):
                kept = order[self._counts[level, order]]
                weight = counts[:, self._boxes.found.image[kept]].astype(np.float64)
                values[at, code] = average_precision(self._right[level, kept], weight, truths)
        return values

    def compute(self, counts: np.ndarray, asked: Sequence[Any]) -> dict[str, np.ndarray]:
        """Return scores of draws by name, of those that have intervals."""
        levels = list(range(len(OVERLAPS)))
        needed = sorted({level for name in asked if name in _LEVELS for level in levels[_LEVELS[name]]})
        if not needed:
            return {}
        values = self.precisions(counts, needed)
        there = np.isfinite(values)
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = np.where(there, values, 0.0).sum(axis=1) / there.sum(axis=1)  # over classes with true boxes
        rows = {level: mean[at] for at, level in enumerate(needed)}
        names = [name for name in asked if name in _LEVELS]
        return {name: np.mean([rows[level] for level in levels[_LEVELS[name]]], axis=0) for name in names}

    def redrawn(self) -> Redrawn:
        """Return how drawn images are scored; each of their boxes counts at ten overlaps."""
        return Redrawn(self.compute, size=max(self._boxes.images, len(OVERLAPS) * len(self._boxes.found)))


# -- sections


def told(boxes: BoxResults) -> Told:
    """Return the sections of a report."""
    cost = gains(boxes.all, len(boxes.classes))
    classes = _classes(boxes)
    bars = Bars("Average precision of each class", "ap", {str(row[0]): row[1] for row in classes.rows})
    loss = Bars("What map_50 would gain without each kind of error", "gain of map_50", cost)
    return Told((classes, bars, _kinds(boxes, cost), loss, *_scores(boxes)), unit="image")


def _classes(boxes: BoxResults) -> Table:
    """Average precision by class, and precision and recall of the boxes that `predict` returns."""
    one = np.ones((1, boxes.images), dtype=np.int64)
    values = boxes.redrawing.precisions(one, range(len(OVERLAPS)))[..., 0]
    known, width = boxes.returned, len(boxes.classes)
    true = np.bincount(known.true.code, minlength=width)
    right = np.bincount(known.found.code[known.kind == RIGHT], minlength=width)
    said = np.bincount(known.found.code[known.kind != IGNORED], minlength=width)
    with np.errstate(divide="ignore", invalid="ignore"):
        columns = [values.mean(axis=0), values[0], right / said, right / true]
    numbers = np.stack(columns, axis=1).tolist()
    lines = [(str(name), *numbers[k], int(true[k])) for k, name in enumerate(boxes.classes)]
    note = f"precision and recall: at an overlap of .5, of boxes with a score of at least {boxes.least:g}"
    if len(lines) > Table.most:
        lines.sort(key=lambda line: (np.isnan(line[1]), line[1]))
        note = f"the lowest ap first; {note}"
    return Table("Classes", ("class", "ap", "ap_50", "precision", "recall", "boxes"), tuple(lines), note)


def _kinds(boxes: BoxResults, cost: dict[str, float]) -> Table:
    lines = [(kind, boxes.returned.count(kind), cost[kind], MEANINGS[kind]) for kind in KINDS]
    note = (
        f"in the manner of TIDE (Bolya et al. 2020); boxes: with a score of at least {boxes.least:g}; gain: of map_50 "
        "over all boxes, where errors of this kind alone are mended"
    )
    return Table("Kinds of errors", ("kind", "boxes", "gain", "what it is"), tuple(lines), note)


def _scores(boxes: BoxResults) -> tuple[Section, ...]:
    """Precision and recall over all classes, by the least score of a box."""
    known = boxes.all
    counted = known.kind != IGNORED
    if not len(known.true) or not counted.any():
        return ()
    score, right = known.found.score[counted], (known.kind == RIGHT)[counted]
    every = np.append(THRESHOLDS, boxes.least)
    said = (score[None] >= every[:, None]).sum(axis=1)
    hits = ((score[None] >= every[:, None]) & right).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = (hits / said, hits / len(known.true), 2 * hits / (said + len(known.true)))
    columns = [one.tolist() for one in ratios]
    shown = [k for k in _SHOWN if round(every[k], 2) != round(boxes.least, 2) and said[k]]
    lines = [(f"{every[k]:.2f}", *(one[k] for one in columns), int(said[k]), "") for k in shown]
    lines.append((f"{boxes.least:.2f}", *(one[-1] for one in columns), int(said[-1]), "predict"))
    lines.sort(key=lambda line: float(line[0]))
    table = Table("Least score", ("least score", "precision", "recall", "f1", "boxes", ""), tuple(lines))
    drawn = {name: tuple(one[:-1]) for name, one in zip(("precision", "recall", "f1"), columns, strict=True)}
    marks = {f"predict: {boxes.least:g}": boxes.least}
    axes = ("least score of a box", "at an overlap of .5")
    return (Curve("Least score", axes, tuple(THRESHOLDS.tolist()), drawn, marks=marks, table=table),)


def row_report(boxes: BoxResults, index: pd.Index[Any]) -> pd.DataFrame:
    """Return what is known of each image, of the boxes that `predict` returns.

    Returns:
        `boxes` (true ones), `found`, `missed`, `wrong`, and `loss`: those missed plus the scores of wrong ones.
    """
    known = boxes.returned
    right, wrong = known.kind == RIGHT, (known.kind != RIGHT) & (known.kind != IGNORED)
    true, found = (np.bincount(one, minlength=boxes.images) for one in (known.true.image, known.found.image[right]))
    scores = np.bincount(known.found.image[wrong], weights=known.found.score[wrong], minlength=boxes.images)
    columns = {
        "boxes": true,
        "found": found,
        "missed": true - found,
        "wrong": np.bincount(known.found.image[wrong], minlength=boxes.images),
        "loss": true - found + scores,
    }
    return pd.DataFrame(columns, index=index)
