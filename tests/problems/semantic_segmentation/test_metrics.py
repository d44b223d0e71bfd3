"""Scores of segmentation against a reference that is written out pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest

from thermocline.problems.semantic_segmentation.metrics import PER_CLASS, confusion, scores_of

CLASSES = ("road", "sky", "tree", "never")


def reference(truth: np.ndarray, found: np.ndarray) -> dict[str, float]:
    """The definitions, by sets of pixels; a class that is neither true nor found counts in no mean."""
    pixels = {n for n, value in enumerate(truth.ravel()) if value >= 0}
    iou, recall, dice = {}, {}, {}
    for label in range(len(CLASSES)):
        true = {n for n in pixels if truth.ravel()[n] == label}
        said = {n for n in pixels if found.ravel()[n] == label}
        iou[label] = len(true & said) / len(true | said) if true | said else float("nan")
        dice[label] = 2 * len(true & said) / (len(true) + len(said)) if true | said else float("nan")
        recall[label] = len(true & said) / len(true) if true else float("nan")
    right = sum(truth.ravel()[n] == found.ravel()[n] for n in pixels)
    return {
        "mean_iou": float(np.nanmean(list(iou.values()))),
        "mean_dice": float(np.nanmean(list(dice.values()))),
        "mean_pixel_accuracy": float(np.nanmean(list(recall.values()))),
        "pixel_accuracy": float(right / len(pixels)),
        **{f"iou/{name}": iou[label] for label, name in enumerate(CLASSES)},
    }


def test_scores_are_those_of_the_definitions_whatever_the_blocks():
    random = np.random.default_rng(0)
    truth = random.integers(-1, 3, (6, 17, 23))
    found = np.where(random.random(truth.shape) < 0.6, truth.clip(0), random.integers(0, 3, truth.shape))
    counts = sum(confusion(t, f, 4) for t, f in zip(truth, found, strict=True))
    assert np.array_equal(counts, confusion(truth, found, 4))
    names = ["mean_iou", "mean_dice", "mean_pixel_accuracy", "pixel_accuracy", PER_CLASS]
    scores, wanted = scores_of(counts, names, CLASSES), reference(truth, found)
    assert scores.keys() == wanted.keys()
    for name, value in wanted.items():
        assert scores[name] == pytest.approx(value, abs=1e-12, nan_ok=True), name


# Made by torchmetrics 1.9.0, which computes in 32 bits, on the frame below without its pixels of no class:
# multiclass_confusion_matrix, _jaccard_index, _accuracy (macro and micro), _f1_score (macro).
TORCHMETRICS = {
    "mean_iou": 0.5891376733779907,
    "pixel_accuracy": 0.7416666746139526,
    "mean_pixel_accuracy": 0.741438627243042,
    "mean_dice": 0.7413485423316883,
    "iou/road": 0.5768194198608398,
    "iou/sky": 0.5807743668556213,
    "iou/tree": 0.6098191142082214,
}
TABLE = [[428, 78, 74], [85, 435, 83], [77, 68, 472]]


def test_scores_are_those_of_torchmetrics():
    random = np.random.default_rng(0)
    truth = random.integers(-1, 3, (6, 17, 23))
    found = np.where(random.random(truth.shape) < 0.6, truth.clip(0), random.integers(0, 3, truth.shape))
    counts = confusion(truth, found, 3)
    assert counts.tolist() == TABLE
    scores = scores_of(
        counts, ["mean_iou", "pixel_accuracy", "mean_pixel_accuracy", "mean_dice", PER_CLASS], CLASSES[:3]
    )
    assert scores == pytest.approx(TORCHMETRICS, abs=1e-7)


def test_what_is_right_everywhere_scores_1_and_pixels_of_no_class_count_nothing():
    truth = np.array([[0, 1, -1], [2, 2, -1]])
    counts = confusion(truth, np.where(truth < 0, 3, truth), 4)
    assert scores_of(counts, ["mean_iou", "pixel_accuracy"], CLASSES) == {"mean_iou": 1.0, "pixel_accuracy": 1.0}
    nothing = confusion(np.full((2, 2), -1), np.zeros((2, 2), int), 4)
    assert all(np.isnan(value) for value in scores_of(nothing, ["mean_iou", "pixel_accuracy"], CLASSES).values())
