"""What a detector reads and finds, as pictures: images with the boxes of the labels and those that are found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from thermocline.contracts.showing import Answer, View
from thermocline.errors import counted
from thermocline.problems.object_detection.drawing import draw
from thermocline.problems.object_detection.rows import DetectionRows

OVERLAP = 0.5
"""The intersection over union from which a box that is found counts as one of the labels, as COCO's AP 50 has it."""

NONE = "no box"
LABEL = "label: "


def box_views(
    name: str, part: DetectionRows, classes: Sequence[Any], rows: np.ndarray, epoch: int | None
) -> list[list[View]]:
    """Return the images of some rows as the detector reads them, with their boxes where they have some.

    Args:
        name: The column of images.
        part: The rows.
        classes: All classes.
        rows: Positions of the rows that are shown.
        epoch: The epoch of training, in which images and boxes may be varied; None: as in prediction.
    """
    varied = f"varied by {part.augment}" if epoch is not None and part.augmented else ""
    views = []
    for row in rows:
        arrays = part.batch(np.array([row]), epoch)
        mask = arrays["mask"][0]
        height, width = int(mask.any(axis=1).sum()), int(mask.any(axis=0).sum())
        pixels = np.ascontiguousarray(np.moveaxis(arrays["pixels"][0, :, :height, :width], 0, -1))
        views.append([View(name, f"{width}×{height} pixels", varied, _with_boxes(pixels, arrays, classes))])
    return views


def _with_boxes(pixels: np.ndarray, arrays: Mapping[str, np.ndarray], classes: Sequence[Any]) -> np.ndarray:
    """Return pixels as they are read, with the boxes of the row on them."""
    from PIL import Image as pil

    if "boxes" not in arrays:
        return pixels
    height, width = arrays["sizes"][0]
    ratio = np.array([pixels.shape[1] / width, pixels.shape[0] / height])
    unit = np.asarray(arrays["scale"][0]) * ratio  # pixels, as they are read, that the share 1 of a box means
    boxes = []
    for code, (x, y, w, h) in zip(arrays["labels"], arrays["boxes"], strict=True):
        edges = np.array([x - w / 2, y - h / 2, x + w / 2, y + h / 2]) * np.tile(unit, 2)
        boxes.append({"label": classes[int(code)], "box": edges.tolist()})
    return np.asarray(draw(pil.fromarray(pixels), boxes, classes))


def box_texts(rows: Sequence[Sequence[Mapping[str, Any]]]) -> list[str]:
    """Return how many boxes of each class rows have, such as `2 cat, 1 dog`."""
    return [_counts(row) for row in rows]


def _counts(boxes: Sequence[Mapping[str, Any]]) -> str:
    counts = Counter(str(box["label"]) for box in boxes if not box.get("crowd"))
    return ", ".join(f"{number} {label}" for label, number in sorted(counts.items())) or NONE


def box_answer(
    picture: Any, found: Sequence[Mapping[str, Any]], truths: Sequence[Mapping[str, Any]] | None, classes: Sequence[Any]
) -> Answer:
    """Return the boxes that are found in an image beside those of its label.

    A row is right where each box of the label is found, and no other: of the same class, and overlapping it by
    `OVERLAP`.

    Args:
        picture: The image.
        found: The boxes that are found, highest score first.
        truths: Those of the label; None where there is none.
        classes: All classes.
    """
    if truths is None:
        return Answer(_counts(found), picture=np.asarray(draw(picture, found, classes)))
    own = [one for one in truths if not one.get("crowd")]
    hit = matched(found, own)
    missed, extra = len(own) - hit, len(found) - hit
    note = f"{counted(hit, 'box', 'boxes')} found, {missed} missed, {extra} more"
    return Answer(_counts(found), _counts(own), not missed and not extra, note, _both(picture, found, own, classes))


def _both(
    picture: Any, found: Sequence[Mapping[str, Any]], own: Sequence[Mapping[str, Any]], classes: Sequence[Any]
) -> np.ndarray:
    """Return the image with the boxes of the label, beside the image with those that are found."""
    left, right = (np.asarray(draw(picture, boxes, classes)) for boxes in (own, found))
    gap = np.full((left.shape[0], max(2, left.shape[1] // 60), 3), 255, dtype=np.uint8)
    return np.concatenate([left, gap, right], axis=1)


def matched(found: Sequence[Mapping[str, Any]], own: Sequence[Mapping[str, Any]]) -> int:
    """Return how many boxes are found, each at most once, the highest score first."""
    left = list(own)
    for box in found:
        near = [
            (_overlap(box["box"], one["box"]), place) for place, one in enumerate(left) if one["label"] == box["label"]
        ]
        best, place = max(near, default=(0.0, -1))
        if best >= OVERLAP:
            del left[place]
    return len(own) - len(left)


def _overlap(one: Sequence[float], other: Sequence[float]) -> float:
    """Return the intersection over union of two boxes, xyxy."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return float(width * height / (areas - width * height))
