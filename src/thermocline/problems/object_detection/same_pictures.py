"""Rows of one picture: they must say the same of it, and belong to training or to validation, not to both."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

from thermocline.contracts.labelled import Labelled
from thermocline.errors import LabelError, ThermoclineWarning, counted
from thermocline.problems.object_detection.boxes import Boxes

_SHOWN = 3


def check_repeats(boxes: Boxes, cells: Sequence[Any], *, what: str) -> None:
    """Check that rows of one picture have the same boxes.

    Args:
        boxes: The boxes of all rows.
        cells: The images of all rows.
        what: The name of the data, for messages.

    Raises:
        LabelError: Some have others; the message names files and rows.
    """
    first: dict[Hashable, int] = {}
    faults = []
    for row, key in enumerate(boxes.pictures):
        before = first.setdefault(key, row)
        if before != row and _said(boxes, before) != _said(boxes, row):
            faults.append(f"{_name(cells[row])} in {_row(boxes, before)} and {_row(boxes, row)}")
    if faults:
        raise LabelError(
            f"{counted(len(faults), 'row')} of {what} {'has' if len(faults) == 1 else 'have'} the picture of an "
            f"earlier row and other boxes: {_few(faults)}. A row is a picture with all its boxes: join these rows, or "
            "the entries of a COCO file that list one file under several ids."
        )


def check_apart(train: Labelled, valid: Labelled) -> None:
    """Check training and tuning data for pictures that are in both; warn where these have the same boxes.

    Raises:
        LabelError: They have others, so that one of both is wrong.
    """
    known: dict[Hashable, int] = {key: row for row, key in enumerate(train.labels.pictures)}
    both = [(known[key], row) for row, key in enumerate(valid.labels.pictures) if key in known]
    if not both:
        return
    other = [(a, b) for a, b in both if _said(train.labels, a) != _said(valid.labels, b)]
    pairs = other or both
    faults = [f"{_row(valid.labels, b)} of tuning_data and {_row(train.labels, a)} of train_data" for a, b in pairs]
    told = f"{len(pairs):,} of {counted(len(valid), 'picture')} of tuning_data {'is' if len(pairs) == 1 else 'are'} "
    where = "" if valid.folder is None else f" Relative paths of tuning_data start at {str(valid.folder)!r}."
    if other:
        raise LabelError(
            f"{told}in train_data too, with other boxes: {_few(faults)}.{where} If these are not meant to be the same "
            "files, write absolute paths; else take them out of one of both."
        )
    warnings.warn(
        f"{told}in train_data too: {_few(faults)}. Scores on pictures that were trained on are too good; take them out "
        "of one of both.",
        ThermoclineWarning,
        stacklevel=4,
    )


def _said(boxes: Boxes, row: int) -> list[Any]:
    """Return what a row says of its picture, whatever the order of its boxes."""
    parts = zip(boxes.labels[row], boxes.boxes[row].tolist(), boxes.crowd[row].tolist(), strict=True)
    return sorted(parts, key=repr)


def _row(boxes: Boxes, row: int) -> str:
    label = boxes.index[row]
    return f"row {row}" if label == row else f"row {row} (index {label!r})"


def _name(cell: Any) -> str:
    return repr(str(cell)) if isinstance(cell, str | Path) else type(cell).__name__


def _few(faults: list[str]) -> str:
    more = f" and {len(faults) - _SHOWN:,} more" if len(faults) > _SHOWN else ""
    return ", ".join(faults[:_SHOWN]) + more
