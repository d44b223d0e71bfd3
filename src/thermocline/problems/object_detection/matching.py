"""Predicted boxes matched with true ones as COCO does, and average precision of what was matched.

Within an image and class the box of the highest score chooses first, among the true boxes that no other has, the one it
overlaps most (Lin et al., ECCV 2014; cocodataset.org/#detection-eval). `metrics.py` scores with a library; this is for
what is not in it: which box is right, and scores of images that are drawn again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

OVERLAPS = 0.5 + 0.05 * np.arange(10)
"""COCO's: .5, .55, … .95."""

RECALLS = np.linspace(0.0, 1.0, 101)
"""COCO's, to the bit: a recall that is equal to one of them counts."""


@dataclass(frozen=True)
class FlatBoxes:
    """The boxes of all images.

    Attributes:
        image: The image of each, int64 `(boxes,)`, ascending.
        code: The number of its class.
        edges: float64 `(boxes, 4)`, xyxy.
        score: Of predicted ones, falling within an image; 1 of true ones.
        crowd: Of true ones, whether it is around a crowd.
    """

    image: np.ndarray
    code: np.ndarray
    edges: np.ndarray
    score: np.ndarray
    crowd: np.ndarray

    @classmethod
    def of(cls, rows: Sequence[Sequence[Mapping[str, Any]]], classes: Sequence[Any]) -> FlatBoxes:
        """Return boxes as `Boxes.truths` and `BoxCollector.outputs` have them; such as are not finite are left out."""
        codes = {label: number for number, label in enumerate(classes)}
        found = [
            (row, codes[box["label"]], [float(edge) for edge in box["box"]], float(box.get("score", 1.0)), box)
            for row, boxes in enumerate(rows)
            for box in sorted(boxes, key=lambda one: -one.get("score", 1.0))
            if np.isfinite([*box["box"], box.get("score", 1.0)]).all()
        ]
        return cls(
            np.array([one[0] for one in found], dtype=np.int64),
            np.array([one[1] for one in found], dtype=np.int64),
            np.array([one[2] for one in found], dtype=np.float64).reshape(-1, 4),
            np.array([one[3] for one in found], dtype=np.float64),
            np.array([bool(one[4].get("crowd", False)) for one in found], dtype=bool),
        )

    def __len__(self) -> int:
        return len(self.image)

    def take(self, which: np.ndarray) -> FlatBoxes:
        """Return some of the boxes."""
        return FlatBoxes(*(one[which] for one in (self.image, self.code, self.edges, self.score, self.crowd)))


def overlaps(found: np.ndarray, true: np.ndarray, crowd: np.ndarray) -> np.ndarray:
    """Return intersection over union float64 `(found, true)`; with a crowd, over the found box alone.

    Args:
        found: Edges `(found, 4)`.
        true: Edges `(true, 4)`.
        crowd: Which true ones are crowds, bool `(true,)`.
    """
    low = np.maximum(found[:, None, :2], true[None, :, :2])
    high = np.minimum(found[:, None, 2:], true[None, :, 2:])
    both = np.clip(high - low, 0.0, None).prod(axis=2)
    area, other = ((one[:, 2:] - one[:, :2]).prod(axis=1) for one in (found, true))
    union = np.where(crowd[None, :], area[:, None], area[:, None] + other[None, :] - both)
    return np.asarray(np.divide(both, union, out=np.zeros_like(both), where=union > 0))


def matched(found: FlatBoxes, true: FlatBoxes, levels: np.ndarray = OVERLAPS) -> tuple[np.ndarray, np.ndarray]:
    """Return for each predicted box the true one that it has, at each overlap.

    Args:
        found: Predicted boxes.
        true: True boxes, crowds among them.
        levels: The least overlaps `(levels,)`.

    Returns:
        The position of the true box, int64 `(levels, found)`, -1 where there is none; and whether it counts neither as
        right nor as wrong, because a crowd is there, bool of that shape.
    """
    place = np.full((len(levels), len(found)), -1, dtype=np.int64)
    mine, theirs = _groups(found), _groups(true)
    for key in mine.keys() & theirs.keys():
        boxes, truths = mine[key], theirs[key]
        crowd = true.crowd[truths]
        shared = overlaps(found.edges[boxes], true.edges[truths], crowd)
        place[:, boxes] = _chosen(shared, crowd, levels, truths)
    ignored = np.zeros_like(place, dtype=bool)
    ignored[place >= 0] = true.crowd[place[place >= 0]]
    return place, ignored


def _groups(boxes: FlatBoxes) -> dict[tuple[int, int], np.ndarray]:
    """Return positions by image and class."""
    if not len(boxes):
        return {}
    order = np.lexsort((boxes.code, boxes.image))  # stable: the highest score stays first
    keys = np.stack([boxes.image[order], boxes.code[order]], axis=1)
    begins = np.flatnonzero(np.append(True, (np.diff(keys, axis=0) != 0).any(axis=1)))
    groups = np.split(order, begins[1:])
    return {(int(keys[at][0]), int(keys[at][1])): group for at, group in zip(begins, groups, strict=True)}


def _chosen(shared: np.ndarray, crowd: np.ndarray, levels: np.ndarray, truths: np.ndarray) -> np.ndarray:
    """Return which true box each box of one image and class has, `(levels, boxes)`; a crowd may be had by many."""
    given = np.full((len(levels), len(shared)), -1, dtype=np.int64)
    free = np.ones((len(levels), len(truths)), dtype=bool)
    least = np.minimum(levels, 1 - 1e-10)[:, None]
    for box, row in enumerate(shared):
        may = (row >= least) & free
        for kind in (~crowd, crowd):  # a crowd only where nothing else is there
            values = np.where(may & kind, row, -1.0)[:, ::-1]  # of equal ones the last, as in COCO's
            best = values.shape[1] - 1 - values.argmax(axis=1)
            takes = (values.max(axis=1, initial=-1.0) >= 0) & (given[:, box] < 0)
            given[takes, box] = best[takes]
        taken = np.flatnonzero(given[:, box] >= 0)
        free[taken, given[taken, box]] &= crowd[given[taken, box]]
    return np.where(given >= 0, truths[given], -1)


def average_precision(right: np.ndarray, weight: np.ndarray, truths: np.ndarray) -> np.ndarray:
    """Return the mean of the precision at 101 recalls, NaN where there is no true box.

    Args:
        right: Which boxes are right, bool `(boxes,)`, the highest score first.
        weight: What each counts in each draw, float64 `(draws, boxes)`.
        truths: True boxes of each draw, float64 `(draws,)`.

    Returns:
        float64 `(draws,)`.
    """
    hits = (weight * right).cumsum(axis=1)
    said = weight.cumsum(axis=1)
    precision = np.divide(hits, said, out=np.zeros_like(hits), where=said > 0)
    precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    precision = np.append(precision, np.zeros((len(precision), 1)), axis=1)
    values = np.full(len(truths), np.nan)
    for draw in np.flatnonzero(truths > 0):
        places = np.searchsorted(hits[draw] / truths[draw], RECALLS)
        values[draw] = precision[draw, places].mean()
    return values


def by_class(found: FlatBoxes, classes: int) -> list[np.ndarray]:
    """Return for each class the positions of its boxes, the highest score first, equal ones by image."""
    order = np.argsort(-found.score, kind="stable")
    return [order[found.code[order] == code] for code in range(classes)]
