"""Turns a column of a frame into numbers, categories or texts.

Training and prediction convert here, so that a column means the same each time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from thermocline.data.columns import Column
from thermocline.data.row_names import first_rows
from thermocline.data.values import parse_numbers, stable_text
from thermocline.errors import ColumnTypeError, DataError


def numbers(series: pd.Series[Any], column: Column) -> np.ndarray:
    """Return a numeric column as float64 `(n,)`, NaN where missing.

    Dates become days since 1970 (UTC) and durations become days, both with their fraction.

    Raises:
        ColumnTypeError: Values that are not numbers (or dates), with the first rows.
        DataError: Infinite values.
    """
    result, bad = parse_numbers(series, column.form)
    where = f"Column {column.name!r}"
    if bad.any():
        kind = "dates" if column.form.startswith("date") else "numbers"
        expected = f" of the form {column.form[5:]!r}" if column.form.startswith("date:") else ""
        raise ColumnTypeError(
            f"{where} is numeric, but {int(bad.sum())} values are not {kind}{expected}: "
            f"{first_rows(series.index, bad, series)}. Correct them, leave them empty, or fit with "
            f"column_types={{{column.name!r}: 'categorical'}} or 'text'."
        )
    infinite = np.isinf(result)
    if infinite.any():
        raise DataError(
            f"{where} holds {int(infinite.sum())} infinite values: "
            f"{first_rows(series.index, infinite, series)}. Replace them, for instance with NaN."
        )
    return result


def categories(series: pd.Series[Any], column: Column) -> np.ndarray:
    """Return a categorical column as an object array of text, None where missing.

    Raises:
        ColumnTypeError: Values that are no scalars, with the first rows.
    """
    return _as_texts(series, column.name, stable_text)


def texts(series: pd.Series[Any], column: Column) -> list[str | None]:
    """Return a text column as it is written, None where missing or blank.

    Raises:
        ColumnTypeError: Values that are no scalars, with the first rows.
    """
    return list(_as_texts(series, column.name, _written_text))


def _written_text(value: object) -> str | None:
    if isinstance(value, str):
        return value if value and not value.isspace() else None
    return stable_text(value)


def _as_texts(series: pd.Series[Any], name: str, convert: Callable[[object], str | None]) -> np.ndarray:
    result = np.full(len(series), None, dtype=object)
    bad = np.zeros(len(series), dtype=bool)
    for row, value in enumerate(series.astype(object).to_numpy()):
        try:
            result[row] = convert(value)
        except TypeError:
            bad[row] = True
    if bad.any():
        raise ColumnTypeError(
            f"Column {name!r} must hold plain values, but {int(bad.sum())} rows hold something else: "
            f"{first_rows(series.index, bad, series)}."
        )
    return result
