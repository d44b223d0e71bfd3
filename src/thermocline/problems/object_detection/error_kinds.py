"""Kinds of errors of a detector, in the manner of TIDE (Bolya et al., ECCV 2020), computed plainly.

A box that is not right is, by the first that holds: badly placed (`localisation`: it overlaps a true box of its class
by .1 to .5), of the wrong class (`class`: it overlaps one of another class by .5 or more), a `duplicate` (its true box
has been found), on `background` (it overlaps no true box by more than .1), else `both` badly placed and of the wrong
class. A true box is `missed` where none of the first two is at it. What a kind costs is by how much `map_50` rises
where its errors alone are mended: placed or named rightly where that finds a true box that is not found yet, else taken
out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from thermocline.problems.object_detection.matching import (
    FlatBoxes,
    average_precision,
    by_class,
    matched,
    overlaps,
)

RIGHT, IGNORED = "right", "ignored"
KINDS = ("class", "localisation", "both", "duplicate", "background", "missed")
MEANINGS = {
    "class": "right place, wrong class",
    "localisation": "right class, overlap .1 to .5",
    "both": "wrong class, overlap .1 to .5",
    "duplicate": "that object was found already",
    "background": "nothing is there",
    "missed": "an object that no box is at",
}
ENOUGH, LEAST = 0.5, 0.1
"""Overlaps from which a box is right, and above which it is at an object."""


@dataclass(frozen=True)
class Judged:
    """What each box is.

    Attributes:
        found: Predicted boxes.
        true: True boxes, without crowds.
        kind: What each predicted box is: `right`, `ignored` or one of `KINDS`, `(found,)`.
        at: The true box that each is at, -1 where there is none.
        missed: Which true boxes are missed, bool `(true,)`.
    """

    found: FlatBoxes
    true: FlatBoxes
    kind: np.ndarray
    at: np.ndarray
    missed: np.ndarray

    def count(self, kind: str) -> int:
        """Return how many errors of a kind there are."""
        return int(self.missed.sum()) if kind == "missed" else int((self.kind == kind).sum())

    def hidden(self) -> np.ndarray:
        """Return which true boxes no right box has, bool `(true,)`: those that are missed, and those named wrongly."""
        hidden = np.ones(len(self.true), dtype=bool)
        hidden[self.at[self.kind == RIGHT]] = False
        return hidden


def judged(found: FlatBoxes, true: FlatBoxes) -> Judged:
    """Return what each predicted box is.

    Args:
        found: Predicted boxes.
        true: True boxes, crowds among them.
    """
    place, ignored = (one[0] for one in matched(found, true, np.array([ENOUGH])))
    kind = np.full(len(found), "", dtype=object)
    kind[place >= 0] = RIGHT
    kind[ignored] = IGNORED
    real = np.flatnonzero(~true.crowd)
    position = np.full(len(true), -1, dtype=np.int64)
    position[real] = np.arange(len(real))
    at = np.where((place >= 0) & ~ignored, position[place], -1) if len(true) else np.full(len(found), -1)
    plain = true.take(real)
    wrong = np.flatnonzero(kind == "")
    for boxes, here in _by_image(found.image[wrong], plain.image):
        kind[wrong[boxes]], at[wrong[boxes]] = _kinds(found, plain, wrong[boxes], here)
    covered = at[(kind == RIGHT) | (kind == "class") | (kind == "localisation")]
    missed = np.ones(len(plain), dtype=bool)
    missed[covered] = False
    return Judged(found, plain, kind, at, missed)


def _by_image(found: np.ndarray, true: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield positions of predicted and of true boxes, given the images of each, ascending."""
    for image in np.unique(found):
        ends = [np.searchsorted(one, [image, image + 1]) for one in (found, true)]
        boxes, here = (np.arange(low, high) for low, high in ends)
        yield boxes, here


def _kinds(found: FlatBoxes, true: FlatBoxes, boxes: np.ndarray, here: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return what boxes of one image are that are not right, and the true box that each is at."""
    if not len(here):
        return np.full(len(boxes), "background", dtype=object), np.full(len(boxes), -1)
    shared = overlaps(found.edges[boxes], true.edges[here], np.zeros(len(here), dtype=bool))
    same = true.code[here] == found.code[boxes][:, None]
    own, other = np.where(same, shared, 0.0), np.where(same, 0.0, shared)
    best, best_other, best_any = own.max(axis=1), other.max(axis=1), shared.max(axis=1)
    cases = [
        ("localisation", (best >= LEAST) & (best < ENOUGH), here[own.argmax(axis=1)]),
        ("class", best_other >= ENOUGH, here[other.argmax(axis=1)]),
        ("duplicate", best >= ENOUGH, here[own.argmax(axis=1)]),
        ("background", best_any <= LEAST, np.full(len(boxes), -1)),
    ]
    kind, at = np.full(len(boxes), "both", dtype=object), here[shared.argmax(axis=1)]
    for name, holds, place in reversed(cases):  # the first that holds is set last
        kind[holds], at[holds] = name, place[holds]
    return kind, at


def gains(boxes: Judged, classes: int) -> dict[str, float]:
    """Return by how much `map_50` rises where the errors of one kind are mended.

    Args:
        boxes: What each box is.
        classes: Number of classes.
    """
    before = _map_50(boxes.found, boxes.kind == RIGHT, boxes.kind != IGNORED, boxes.true.code, classes)
    return {kind: _mended(boxes, kind, classes) - before for kind in KINDS}


def _mended(boxes: Judged, kind: str, classes: int) -> float:
    right, counts, code = boxes.kind == RIGHT, boxes.kind != IGNORED, boxes.found.code.copy()
    if kind == "missed":
        return _map_50(boxes.found, right, counts, boxes.true.code[~boxes.missed], classes)
    hidden = boxes.hidden()
    wrong = np.flatnonzero(boxes.kind == kind)
    for box in wrong[np.argsort(-boxes.found.score[wrong], kind="stable")]:
        at = boxes.at[box]
        if kind in ("class", "localisation") and hidden[at]:
            right[box], hidden[at], code[box] = True, False, boxes.true.code[at]
        else:
            counts[box] = False
    one = boxes.found
    mended = FlatBoxes(one.image, code, one.edges, one.score, one.crowd)
    return _map_50(mended, right, counts, boxes.true.code, classes)


def _map_50(found: FlatBoxes, right: np.ndarray, counts: np.ndarray, true: np.ndarray, classes: int) -> float:
    values = []
    truths = np.bincount(true, minlength=classes).astype(np.float64)
    for code, order in enumerate(by_class(found, classes)):
        kept = order[counts[order]]
        values.append(average_precision(right[kept], np.ones((1, len(kept))), truths[[code]])[0])
    there = np.isfinite(values)
    return float(np.mean(np.array(values)[there])) if there.any() else float("nan")
