"""Widths and heights that annotation files say, compared with those that the image files have."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from thermocline.data.row_names import first_rows
from thermocline.data.values import number_or_none
from thermocline.errors import LabelError, ThermoclineWarning, counted
from thermocline.inputs.image.header_size import stored_size

SIZE = "_image_size"  # after the label's name: the column of widths and heights that an annotation file says
_ROUNDING = 1  # pixels: what resizing and some tools are off by
_MEND = (
    "Give the pictures that were annotated, or scale the boxes with them (resized copies) and correct the sizes. Where "
    "the boxes fit the files as they are, take the sizes out."
)
_TURNED = (
    "Pictures are read upright, as their EXIF orientation says, and boxes are in those pixels; the sizes are those of "
    "the picture as it is stored. If the boxes were drawn on that one, remove the orientation from the files "
    "(`exiftool -Orientation= FILES`); if they were drawn on the upright one, correct the sizes."
)


def size_column(label: str, sizes: Sequence[tuple[Any, Any]]) -> dict[str, list[tuple[float, float] | None]]:
    """Return a column of widths and heights, None where a file says none or 0; no column where none says any.

    Args:
        label: The column of boxes.
        sizes: Width and height as they are written.
    """
    found = [_size(*size) for size in sizes]
    return {f"{label}{SIZE}": found} if any(found) else {}


def check_sizes(
    frame: pd.DataFrame, label: str, cells: Sequence[Any], folder: Path | None, sizes: np.ndarray, *, what: str
) -> None:
    """Check that images are as large as their annotations say: else boxes mean other pixels.

    COCO and VOC files say it of their images, so that a difference is an error. Columns `width` and `height` of a table
    may be of something else, so that it is a warning.

    Args:
        frame: The rows.
        label: The column of boxes.
        cells: The images.
        folder: Where relative paths start.
        sizes: Height and width of each image as it is read, upright, int64 `(rows, 2)`.
        what: The name of the data, for messages.

    Raises:
        LabelError: Some differ; the message names files and both sizes.
    """
    certain = f"{label}{SIZE}" in frame.columns
    if certain:
        declared = frame[f"{label}{SIZE}"]
    elif {"width", "height"} <= set(frame.columns):
        said = zip(frame["width"].tolist(), frame["height"].tolist(), strict=True)
        declared = pd.Series([_size(*size) for size in said], index=frame.index, dtype=object)
    else:
        return
    pairs = [(row, size) for row, size in enumerate(declared) if isinstance(size, tuple | list)]
    other = [(row, size) for row, size in pairs if np.abs(np.array(size) - sizes[row][::-1]).max() > _ROUNDING]
    if not other:
        return
    shown = [
        f"{first_rows(declared.index, np.arange(len(sizes)) == row)}: {_name(cells[row])}, {size[0]:g} × {size[1]:g} "
        f"in the annotations, {sizes[row][1]} × {sizes[row][0]} in the file"
        for row, size in other[:3]
    ]
    more = f" and {len(other) - 3:,} more" if len(other) > 3 else ""
    turned = any(stored_size(cells[row], folder) == tuple(size) for row, size in other[:3])
    where = "the annotations" if certain else "the columns 'width' and 'height'"
    message = (
        f"{len(other):,} of {counted(len(sizes), 'image')} of {what} {'is' if len(other) == 1 else 'are'} not as large "
        f"(width × height) as {where} say, so that boxes would mean other pixels: {'; '.join(shown)}{more}. "
        f"{_TURNED if turned else _MEND}"
    )
    if certain:
        raise LabelError(message)
    warnings.warn(message, ThermoclineWarning, stacklevel=3)


def _size(width: Any, height: Any) -> tuple[float, float] | None:
    pair = _number(width), _number(height)
    return pair if all(math.isfinite(side) and side > 0 for side in pair) else None


def _number(value: Any) -> float:
    found = number_or_none(value) if isinstance(value, str) else value
    real = isinstance(found, int | float | np.number) and not isinstance(found, bool)
    return float(found) if real and found is not None else math.nan


def _name(cell: Any) -> str:
    return str(cell) if isinstance(cell, str | Path) else type(cell).__name__
