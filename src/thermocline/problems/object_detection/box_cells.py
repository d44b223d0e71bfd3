"""Cells of a box column as numbers and labels: each a list, tuple, array or JSON text of `[x, y, x, y, label]`."""

from __future__ import annotations

import ast
import json
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from thermocline.data.row_names import first_rows, plain
from thermocline.data.values import number_or_none
from thermocline.errors import LabelError, counted

# Faults in how a box is written; `boxes.py` finds those of its numbers.
NOT_FIVE = "not 5 entries"
NOT_NUMERIC = "coordinates that are not numbers"
NO_LABEL = "no label"
BAD_LABEL = "a label that is neither text nor a whole number"


@dataclass(frozen=True)
class RawBoxes:
    """The boxes of a column as they are written, row after row.

    Attributes:
        row: The row of each box, int64 `(boxes,)`.
        place: Its place in the cell, counted from 0, int64 `(boxes,)`.
        coordinates: The four numbers, float64 `(boxes, 4)`; NaN where there are none.
        labels: The label of each box, None where there is none.
        fault: What is wrong with each, or an empty text.
        written: Each box as it was given, for messages.
    """

    row: np.ndarray
    place: np.ndarray
    coordinates: np.ndarray
    labels: tuple[Any, ...]
    fault: np.ndarray
    written: tuple[Any, ...]


def read_cells(series: pd.Series[Any], *, what: str, missing_ok: bool = False) -> RawBoxes:
    """Return the boxes of a column, and what is wrong with how each is written.

    An empty list is an image without boxes. Text is read as JSON, or as the list that Python prints.

    Args:
        series: The column.
        what: The name of the frame, for messages.
        missing_ok: Take a missing cell as an empty list.

    Raises:
        LabelError: Cells that are missing, or that hold no list of boxes, with the first rows.
    """
    cells = series.astype(object).tolist()
    missing = np.array([_is_missing(cell) for cell in cells], dtype=bool)
    if missing.any() and not missing_ok:
        raise LabelError(
            f"Label {series.name!r} of {what} is missing in {int(missing.sum()):,} of {len(cells):,} rows: "
            f"{first_rows(series.index, missing)}. Write [] for an image without boxes, or drop these rows: "
            f"`frame.dropna(subset=[{series.name!r}])`."
        )
    lists = [[] if gone else _entries(cell) for cell, gone in zip(cells, missing, strict=True)]
    bad = np.array([found is None for found in lists], dtype=bool)
    if bad.any():
        raise LabelError(
            f"Label {series.name!r} of {what} holds something else than a list of boxes in "
            f"{counted(int(bad.sum()), 'row')}: "
            f"{first_rows(series.index, bad, series)}. A cell is [[x, y, x, y, label], …], as a list, a tuple, an "
            "array or JSON text, and [] for an image without boxes."
        )
    return _flat([found or [] for found in lists])


def _flat(lists: list[list[Any]]) -> RawBoxes:
    counts = [len(found) for found in lists]
    read = [_read_box(entry) for found in lists for entry in found]
    return RawBoxes(
        row=np.repeat(np.arange(len(lists)), counts),
        place=np.concatenate([np.arange(count) for count in counts]) if counts else np.zeros(0, dtype=np.int64),
        coordinates=np.array([numbers for numbers, _, _ in read], dtype=np.float64).reshape(-1, 4),
        labels=tuple(label for _, label, _ in read),
        fault=np.array([fault for _, _, fault in read], dtype=object),
        written=tuple(_shown(entry) for found in lists for entry in found),
    )


def _is_missing(cell: object) -> bool:
    if isinstance(cell, str):
        return not cell.strip() or cell.strip().lower() in {"nan", "null", "none"}
    return cell is None or cell is pd.NA or cell is pd.NaT or (isinstance(cell, float) and math.isnan(cell))


def _entries(cell: object) -> list[Any] | None:
    """Return the boxes of a cell as they are written, or None where it is no list of lists."""
    if isinstance(cell, str):
        cell = _parsed(cell)
    if isinstance(cell, np.ndarray):
        if cell.ndim == 1 and cell.dtype != object and cell.size:
            return None  # one box, or a row of numbers: which of them is not known
        cell = list(cell)
    if not isinstance(cell, list | tuple):
        return None
    found = list(cell)
    # one box without the outer list is a fault by itself, and not five boxes of one entry each
    return found if not found or any(_is_sequence(entry) for entry in found) else None


def _parsed(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None


def _is_sequence(value: object) -> bool:
    return isinstance(value, list | tuple | np.ndarray)


def _read_box(entry: Any) -> tuple[tuple[float, ...], Any, str]:
    """Return the four numbers, the label, and what is wrong."""
    nothing = (math.nan,) * 4
    if not _is_sequence(entry) or len(entry) != 5:
        return nothing, None, NOT_FIVE
    # numpy turns numbers next to a text label into text, and whole labels next to fractions into fractions
    as_text = isinstance(entry, np.ndarray) and entry.dtype.kind in "US"
    numbers = [_number(value, as_text=as_text) for value in entry[:4]]
    if any(number is None for number in numbers):
        return nothing, None, NOT_NUMERIC
    label, fault = _label(plain(entry[4]))
    return tuple(float(number) for number in numbers if number is not None), label, fault


def _number(value: Any, *, as_text: bool) -> float | None:
    value = plain(value)
    if as_text and isinstance(value, str):
        return number_or_none(value)
    if value is None or isinstance(value, bool) or not isinstance(value, int | float):
        return math.nan if value is None or value is pd.NA else None
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _label(label: Any) -> tuple[Any, str]:
    if label is None or label is pd.NA or (isinstance(label, float) and math.isnan(label)):
        return None, NO_LABEL
    if isinstance(label, str):
        return (label, "") if label.strip() else (None, NO_LABEL)
    if isinstance(label, float) and label.is_integer():
        label = int(label)
    if isinstance(label, bool) or not isinstance(label, int):
        return None, BAD_LABEL
    return label, ""


def _shown(entry: Any) -> Any:
    return [plain(value) for value in entry] if _is_sequence(entry) else plain(entry)
