"""What a user should know of the cells of used columns: broken text, columns that only count rows."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd

from thermocline.data.columns import Column, Columns
from thermocline.data.values import is_broken, parse_numbers
from thermocline.errors import counted

ID_NAME = re.compile(r"(.*[^a-z])?(id|uuid|guid|key|index|idx|rowid)", re.IGNORECASE)
ID_ENDING = re.compile(r".*[a-z0-9](Id|ID|Key|Index)")
CODE = re.compile(r"[!-~]{1,64}")  # one word of ASCII
UNNAMED = re.compile(r"Unnamed: \d+")
FEWEST_ROWS = 5
CHANCE = 3.0
"""A column of `rows` different whole numbers out of `range` possible ones comes about by chance with a probability of
exp(-rows² / (2 × range)): of 5 %, where the exponent is -3."""


def cell_notes(frame: pd.DataFrame, columns: Columns) -> dict[str, str]:
    """Return, by name, a note for each column of text that holds halves of surrogate pairs, which are no text."""
    notes = {}
    for column in columns:
        if column.kind not in ("text", "categorical"):
            continue
        number = int(broken_mask(frame[column.name]).sum())
        if number:
            rows = counted(number, "row holds", "rows hold")
            said = f"{rows} half a surrogate pair, which is no text; read as U+FFFD"
            notes[column.name] = f"column {column.name!r}: {said}"
    return notes


def broken_mask(series: pd.Series[Any]) -> np.ndarray:
    """Return which values are text with half a surrogate pair `(n,)`."""
    if isinstance(series.dtype, pd.CategoricalDtype):
        odd = [isinstance(value, str) and is_broken(value) for value in series.cat.categories]
        return np.isin(series.cat.codes.to_numpy(), np.flatnonzero(odd))
    if series.dtype != object and not pd.api.types.is_string_dtype(series.dtype):
        return np.zeros(len(series), dtype=bool)
    return np.array([isinstance(value, str) and is_broken(value) for value in series.astype(object)], dtype=bool)


def id_notes(frame: pd.DataFrame, columns: Columns) -> list[str]:
    """Return a note for each used column that tells rows apart and nothing else, with the way to leave it out."""
    if len(frame) < FEWEST_ROWS:
        return []
    notes = []
    for column in columns:
        why = _id_reason(frame, column)
        if why:
            notes.append(
                f"column {column.name!r} {why}, and is used as a feature: leave it out with "
                f"column_types={{{column.name!r}: 'null'}}"
            )
    return notes


def _id_reason(frame: pd.DataFrame, column: Column) -> str:
    """Return what makes a column one of row numbers or ids, or nothing."""
    if column.missing or column.kind not in ("numeric", "text", "categorical"):
        return ""
    series = frame[column.name]
    if not series.is_unique:
        return ""
    if column.kind == "numeric":
        return _number_reason(frame, series, column)
    if not all(CODE.fullmatch(str(value).strip()) for value in series):
        return ""
    return "has another code in every row, as an id does" if column.kind == "text" or _is_id_name(column.name) else ""


def _number_reason(frame: pd.DataFrame, series: pd.Series[Any], column: Column) -> str:
    values, bad = parse_numbers(series, column.form)
    if bad.any() or column.form not in ("number", "number as text") or not (values == np.floor(values)).all():
        return ""
    low, high, rows = float(values.min()), float(values.max()), len(values)
    if low in (0.0, 1.0) and high - low == rows - 1:
        return f"counts the rows from {low:.0f} to {high:,.0f}"
    if pd.api.types.is_integer_dtype(frame.index.dtype) and bool((frame.index.to_numpy() == values).all()):
        return "holds the numbers of the frame's index"
    if UNNAMED.fullmatch(column.name) or _is_id_name(column.name):
        return "has another whole number in every row, as an id does"
    if rows**2 / (2 * (high - low + 1)) > CHANCE:
        return f"has another whole number in every row, from {low:,.0f} to {high:,.0f}, as an id does"
    return ""


def _is_id_name(name: str) -> bool:
    return bool(ID_NAME.fullmatch(name) or ID_ENDING.fullmatch(name))
