"""COCO's average precision of boxes, computed in memory by faster-coco-eval.

Average precision is the mean over ten overlaps (IoU .50, .55, … .95) of the precision averaged over 101 recalls, over
the 100 best boxes of an image (Lin et al., ECCV 2014; cocodataset.org/#detection-eval).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from thermocline.errors import DataError, LabelError, MissingDependencyError, counted, listing

Found = Mapping[str, Any]
_AREAS = {"map_small": 1, "map_medium": 2, "map_large": 3}  # up to 32², up to 96², above, in pixels


def coco_scores(
    truths: Sequence[Sequence[Found]], predictions: Sequence[Sequence[Found]], classes: Sequence[Any]
) -> dict[str, Any]:
    """Return COCO's scores of predicted boxes.

    A class without a true box has no score: it is NaN, and left out of the means. Without any prediction a class that
    has true boxes scores 0.

    Args:
        truths: For each image its boxes, each a mapping of `label`, `box` (xyxy in the image's pixels) and perhaps
            `crowd`: a box around a crowd is never counted as missed, nor predictions inside it as false.
        predictions: For each image the boxes found, each a mapping of `label`, `score` and `box`.
        classes: All classes.

    Returns:
        `map` (mean average precision), `map_50` and `map_75` (at these overlaps), `map_small`, `map_medium` and
        `map_large` (of boxes by area), `mar_100` (mean average recall), and `per_class`: for each class `ap`, `ap_50`
        and `boxes`, the number of true ones.

    Raises:
        MissingDependencyError: faster-coco-eval is not installed.
        DataError: Lists of different length, scores or boxes that are not finite numbers.
        LabelError: A label that is none of the classes.
    """
    if len(truths) != len(predictions):
        raise DataError(
            f"{counted(len(truths), 'image')} with true boxes and {len(predictions)} with predictions do not match."
        )
    codes = {label: number for number, label in enumerate(classes, start=1)}
    true = _entries(truths, codes, "true boxes")
    found = _entries(predictions, codes, "predictions")
    counts = np.zeros(len(codes), dtype=np.int64)
    for entry in true:
        counts[entry["category_id"] - 1] += not entry["iscrowd"]
    precision, recall = _evaluate(len(truths), true, found, codes)
    return {**_overall(precision, recall), "per_class": _per_class(precision, counts, classes)}


def _overall(precision: np.ndarray, recall: np.ndarray) -> dict[str, float]:
    """Return the scores over all classes.

    Args:
        precision: `(overlaps, recalls, classes, areas)`; -1 where there is no true box.
        recall: `(overlaps, classes, areas)`; likewise.
    """
    return {
        "map": _mean(precision[..., 0]),
        "map_50": _mean(precision[0, ..., 0]),
        "map_75": _mean(precision[5, ..., 0]),
        **{name: _mean(precision[..., place]) for name, place in _AREAS.items()},
        "mar_100": _mean(recall[..., 0]),
    }


def _per_class(precision: np.ndarray, counts: np.ndarray, classes: Sequence[Any]) -> dict[Any, dict[str, Any]]:
    return {
        label: {
            "ap": _mean(precision[:, :, place, 0]),
            "ap_50": _mean(precision[0, :, place, 0]),
            "boxes": int(counts[place]),
        }
        for place, label in enumerate(classes)
    }


def _mean(values: np.ndarray) -> float:
    defined = values[values > -1]
    return float(defined.mean()) if defined.size else math.nan


def _entries(rows: Sequence[Sequence[Found]], codes: Mapping[Any, int], what: str) -> list[dict[str, Any]]:
    """Return boxes as COCO's annotations; ids count from 1, as 0 means none in its matching."""
    entries: list[dict[str, Any]] = []
    strange: dict[Any, int] = {}
    for row, boxes in enumerate(rows):
        for box in boxes:
            numbers = np.asarray(box["box"], dtype=np.float64)
            score = float(box.get("score", 1.0))
            if numbers.shape != (4,) or not np.isfinite(numbers).all() or not math.isfinite(score):
                raise DataError(f"The {what} of image {row} hold {dict(box)!r}, which is not of finite numbers.")
            if box["label"] not in codes:
                strange.setdefault(box["label"], row)
                continue
            left, upper, right, lower = numbers.tolist()
            sides = [right - left, lower - upper]
            entries.append(
                {
                    "id": len(entries) + 1,
                    "image_id": row + 1,
                    "category_id": codes[box["label"]],
                    "bbox": [left, upper, *sides],
                    "area": sides[0] * sides[1],
                    "iscrowd": int(bool(box.get("crowd", False))),
                    "score": score,
                }
            )
    if strange:
        shown = ", ".join(f"{label!r} (first in image {row})" for label, row in list(strange.items())[:3])
        raise LabelError(f"The {what} hold labels that are none of the classes {listing(codes)}: {shown}.")
    return entries


def _evaluate(
    images: int, true: list[dict[str, Any]], found: list[dict[str, Any]], codes: Mapping[Any, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Return precision `(10, 101, classes, 4 areas)` and recall `(10, classes, 4 areas)` at 100 boxes an image."""
    if not true or not codes:
        return np.full((10, 101, len(codes), 4), -1.0), np.full((10, len(codes), 4), -1.0)
    try:
        from faster_coco_eval import COCO, COCOeval_faster
    except ImportError:
        raise MissingDependencyError(
            "Scoring boxes needs faster-coco-eval: pip install 'thermocline[detection]'"
        ) from None

    sides: list[COCO] = []
    for entries in (true, found):
        side = COCO(print_function=_silent)
        side.dataset = {
            "images": [{"id": row + 1} for row in range(images)],
            "annotations": entries,
            "categories": [{"id": code, "name": str(label)} for label, code in codes.items()],
        }
        side.createIndex()
        sides.append(side)
    evaluation = COCOeval_faster(*sides, iouType="bbox", print_function=_silent)
    evaluation.evaluate()
    evaluation.accumulate()
    precision, recall = np.asarray(evaluation.eval["precision"]), np.asarray(evaluation.eval["recall"])
    return precision[..., -1], recall[..., -1]


def _silent(*_: object) -> None:
    """Print nothing: the function that faster-coco-eval prints with."""
