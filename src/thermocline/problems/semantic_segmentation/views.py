"""What a segmenter reads and finds, as pictures and short texts."""

from __future__ import annotations

from typing import Any

import numpy as np

from thermocline.contracts.showing import Answer, View
from thermocline.problems.semantic_segmentation.drawing import overlay
from thermocline.problems.semantic_segmentation.metrics import confusion, scores_of
from thermocline.problems.semantic_segmentation.rows import SegmentationRows
from thermocline.problems.semantic_segmentation.target import MaskTarget

_RIGHT = 0.5
"""The mean intersection over union from which a row counts as right."""
_MOST_NAMED = 4


def mask_views(
    name: str, part: SegmentationRows, target: MaskTarget, rows: np.ndarray, epoch: int | None
) -> list[list[View]]:
    """Return the images of some rows as the segmenter reads them, with their masks where they have some.

    Args:
        name: The column of images.
        part: The rows.
        target: The classes.
        rows: Positions of the rows that are shown.
        epoch: The epoch of training, in which images and masks may be varied; None: as in prediction.
    """
    varied = f"varied by {part.augment}" if epoch is not None and part.augmented else ""
    views = []
    for row in rows:
        arrays = part.batch(np.array([row]), epoch)
        pixels = np.ascontiguousarray(np.moveaxis(arrays["pixels"][0], 0, -1))
        if "mask" in arrays:
            pixels = overlay(pixels, arrays["mask"][0], len(target.classes))
        views.append([View(name, f"{pixels.shape[1]}×{pixels.shape[0]} pixels", varied, pixels)])
    return views


def mask_text(codes: np.ndarray, target: MaskTarget) -> str:
    """Return the classes of a mask with their shares of pixels, the largest first, such as `road 61 %, car 8 %`."""
    known = codes[codes >= 0]
    if not known.size:
        return "no class"
    shares = np.bincount(known, minlength=len(target.classes)) / known.size
    order = [int(code) for code in np.argsort(-shares, kind="stable") if shares[code] > 0]
    named = [f"{target.classes[code]} {100 * shares[code]:.2g} %" for code in order[:_MOST_NAMED]]
    return ", ".join(named) + (f", {len(order) - _MOST_NAMED} more" if len(order) > _MOST_NAMED else "")


def mask_answer(image: Any, found: np.ndarray, truth: np.ndarray | None, target: MaskTarget) -> Answer:
    """Return the mask that is found in an image, beside that of its label.

    Args:
        image: The image, RGB.
        found: Position of the class of every pixel.
        truth: The same of the label, below 0 for no class; None where there is none.
        target: The classes.
    """
    count = len(target.classes)
    shown = overlay(image, found, count)
    if truth is None:
        return Answer(mask_text(found, target), picture=shown)
    scores = scores_of(confusion(truth, found, count), ["mean_iou", "pixel_accuracy"], target.classes)
    gap = np.full((shown.shape[0], max(2, shown.shape[1] // 60), 3), 255, dtype=np.uint8)
    both = np.concatenate([overlay(image, truth, count), gap, shown], axis=1)
    note = (
        f"label left, found right; mean IoU {scores['mean_iou']:.2f}, {100 * scores['pixel_accuracy']:.3g} % of pixels"
    )
    return Answer(mask_text(found, target), mask_text(truth, target), scores["mean_iou"] >= _RIGHT, note, both)
