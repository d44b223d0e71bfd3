"""What a report tells of masks: scores of each class, and which classes are taken for which."""

from __future__ import annotations

import numpy as np

from thermocline.contracts.reporting import Told
from thermocline.problems.semantic_segmentation.metrics import per_class, scores_of
from thermocline.problems.semantic_segmentation.target import MaskTarget
from thermocline.report.sections import Bars, Matrix, Section, Table

MOST_IN_MATRIX = 12


def told(counts: np.ndarray, target: MaskTarget) -> Told:
    """Return the sections of a report.

    Args:
        counts: Pixels of each true class that were given each class, int64 `(classes, classes)`.
        target: The classes.
    """
    each, pixels = per_class(counts), counts.sum(axis=1)
    order = np.argsort(np.nan_to_num(each["iou"], nan=2.0), kind="stable")
    header = ("class", "pixels", "iou", "accuracy", "dice")
    rows = tuple(
        (
            target.classes[int(code)],
            int(pixels[code]),
            float(each["iou"][code]),
            float(each["accuracy"][code]),
            float(each["dice"][code]),
        )
        for code in order
    )
    named = {str(target.classes[int(code)]): float(each["iou"][code]) for code in order}
    sections: list[Section] = [
        Table("Classes, lowest intersection over union first", header, rows),
        Bars("Intersection over union", "intersection over union", named),
    ]
    if len(target.classes) <= MOST_IN_MATRIX:
        names = tuple(map(str, target.classes))
        values = tuple(tuple(float(value) for value in row) for row in counts)
        sections.append(Matrix("Pixels by true class (rows) and class found (columns)", names, values))
    most = int(pixels.argmax())
    constant = np.zeros_like(counts)
    constant[:, most] = pixels
    scores = scores_of(constant, ("mean_iou", "pixel_accuracy", "mean_pixel_accuracy", "mean_dice"), target.classes)
    baseline = f"{target.classes[most]!r} for every pixel"
    return Told(tuple(sections), unit="image", baseline=baseline, baseline_scores=scores)
