"""Boxes matched as by COCO's evaluation, and kinds of errors."""

from __future__ import annotations

import numpy as np
import pytest

from thermocline.problems.object_detection.error_kinds import KINDS, gains, judged
from thermocline.problems.object_detection.matching import FlatBoxes, overlaps
from thermocline.problems.object_detection.metrics import coco_scores
from thermocline.problems.object_detection.reporting import BoxResults, Redrawing, told

CLASSES = ("a", "b", "c")
NAMES = ("map", "map_50", "map_75")


def box_at(rng):
    low = rng.uniform(0, 60, 2)
    return [*low.tolist(), *(low + rng.uniform(5, 40, 2)).tolist()]


def images(seed, *, tied=False):
    """True boxes, some of them crowds, and found ones: moved, named wrongly, twice, or anywhere."""
    rng = np.random.default_rng(seed)
    truths, found = [], []
    for _ in range(int(rng.integers(1, 12))):
        true = [
            {"label": str(rng.choice(CLASSES)), "box": box_at(rng), "crowd": bool(rng.random() < 0.15)}
            for _ in range(rng.integers(0, 6))
        ]
        said = [{"label": str(rng.choice(CLASSES)), "box": box_at(rng)} for _ in range(rng.integers(0, 4))]
        for one in true:
            moved = [np.array(one["box"]) + rng.uniform(-3, 1, 4) * [1, 1, -1, -1] for _ in range(rng.integers(0, 3))]
            said += [
                {"label": one["label"] if rng.random() < 0.8 else str(rng.choice(CLASSES)), "box": box.tolist()}
                for box in moved
            ]
        scores = rng.random(len(said)).round(1 if tied else 9)
        truths.append(true)
        found.append([{**one, "score": float(score)} for one, score in zip(said, scores, strict=True)])
    return truths, [sorted(boxes, key=lambda one: -one["score"]) for boxes in found]


def results_of(truths, found):
    return BoxResults(FlatBoxes.of(found, CLASSES), FlatBoxes.of(truths, CLASSES), CLASSES, len(truths), 0.3)


@pytest.mark.parametrize("seed", range(8))
def test_scores_are_cocos(seed):
    truths, found = images(seed, tied=seed % 2 == 0)
    once = np.ones((1, len(truths)), dtype=np.int64)
    got = Redrawing(results_of(truths, found)).compute(once, NAMES)
    expected = coco_scores(truths, found, CLASSES)
    assert [got[name][0] for name in NAMES] == pytest.approx([expected[name] for name in NAMES], nan_ok=True)


@pytest.mark.parametrize("seed", range(4))
def test_images_drawn_again_are_scored_as_if_they_were_there_as_often(seed):
    truths, found = images(seed)
    counts = np.random.default_rng(seed).integers(0, 3, (1, len(truths)))
    drawn = np.repeat(np.arange(len(truths)), counts[0])
    expected = coco_scores([truths[i] for i in drawn], [found[i] for i in drawn], CLASSES)
    got = Redrawing(results_of(truths, found)).compute(counts, NAMES)
    assert [got[name][0] for name in NAMES] == pytest.approx([expected[name] for name in NAMES], nan_ok=True)


def flat(*boxes):
    return FlatBoxes.of([[{"label": label, "box": box, "score": score} for label, box, score in boxes]], CLASSES)


@pytest.mark.parametrize(
    ("label", "box", "kind", "missed"),
    [
        ("a", [0, 0, 10, 9], "right", 1),
        ("a", [0, 0, 10, 30], "localisation", 1),  # an overlap of a third
        ("b", [0, 0, 10, 10], "class", 1),
        ("b", [0, 0, 10, 30], "both", 2),
        ("a", [60, 60, 70, 70], "background", 2),
    ],
)
def test_a_box_is_of_one_kind(label, box, kind, missed):
    true = flat(("a", [0, 0, 10, 10], 1), ("c", [30, 30, 40, 40], 1))
    known = judged(flat((label, box, 0.9)), true)
    assert known.kind.tolist() == [kind]
    assert known.missed.sum() == missed
    gained = gains(known, 3)
    positive = {name for name, gain in gained.items() if gain > 1e-9}
    assert positive == ({"missed"} if kind == "right" else {kind} if kind in ("localisation", "class") else set())


def test_a_second_box_on_an_object_is_a_duplicate():
    true = flat(("a", [0, 0, 10, 10], 1), ("a", [50, 50, 60, 60], 1))
    boxes = flat(("a", [0, 0, 10, 10], 0.9), ("a", [0, 0, 10, 9], 0.8), ("a", [50, 50, 60, 60], 0.7))
    known = judged(boxes, true)
    assert known.kind.tolist() == ["right", "duplicate", "right"]
    assert gains(known, 3)["duplicate"] == pytest.approx(1 - (51 + 50 * 2 / 3) / 101)


def test_no_kind_of_error_costs_less_than_nothing():
    for seed in range(6):
        found = gains(results_of(*images(seed)).all, len(CLASSES))
        assert tuple(found) == KINDS
        assert all(np.isnan(gain) or gain > -1e-9 for gain in found.values())


def test_overlap_with_a_crowd_is_a_share_of_the_found_box():
    shared = overlaps(np.array([[0.0, 0, 10, 10]]), np.array([[0.0, 0, 40, 40]] * 2), np.array([False, True]))
    assert shared.tolist() == [[100 / 1600, 1.0]]


def test_images_without_any_box_have_a_report():
    for truths, found in (([[]], [[]]), ([[{"label": "a", "box": [0, 0, 9, 9]}]], [[]])):
        sections = told(results_of(truths, found)).sections
        assert sections[0].title == "Classes"
