"""Turns a column of a frame into numbers, categories or texts.

Training and prediction convert here, so that a column means the same each time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from thermocline.data.columns import Column
from thermocline.data.row_names import first_rows
from thermocline.data.values import (
    TRUTH,
    number_or_none,
    number_text,
    parse_numbers,
    stable_text,
    truth_text,
    well_formed,
)
from thermocline.errors import ColumnTypeError, DataError, counted


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
        kind = "date" if column.form.startswith("date") else "number"
        count = counted(int(bad.sum()), f"value is no {kind}", f"values are not {kind}s")
        expected = f" of the form {column.form[5:]!r}" if column.form.startswith("date:") else ""
        raise ColumnTypeError(
            f"{where} is numeric, but {count}{expected}: "
            f"{first_rows(series.index, bad, series)}. Correct them, leave them empty, or fit with "
            f"column_types={{{column.name!r}: 'categorical'}} or 'text'."
        )
    infinite = np.isinf(result)
    if infinite.any():
        raise DataError(
            f"{where} holds {counted(int(infinite.sum()), 'infinite value')}: "
            f"{first_rows(series.index, infinite, series)}. Replace them, for instance with NaN."
        )
    return result


def categories(series: pd.Series[Any], column: Column) -> np.ndarray:
    """Return a categorical column as an object array of text, None where missing.

    Raises:
        ColumnTypeError: Values that are no scalars, with the first rows.
    """
    convert = {"boolean": truth_text, "number category": number_text}.get(column.form, stable_text)
    return _as_texts(series, column.name, convert)


def category_codes(series: pd.Series[Any], column: Column, vocabulary: Sequence[str]) -> np.ndarray:
    """Return the number of each category int64 `(n,)`: its place in the vocabulary + 1, or 0 for missing or unknown.

    Text is compared as written. A number or truth value that is none of the categories as text is the one that means
    the same (7 is "007", True is "true"), where there is just one.

    Raises:
        ColumnTypeError: Values that are no scalars, with the first rows.
    """
    index = {value: number + 1 for number, value in enumerate(vocabulary)}
    codes = np.array([index.get(value, 0) for value in categories(series, column)], dtype=np.int64)
    unknown = np.flatnonzero(codes == 0)
    if column.form != "category" or not len(unknown):
        return codes
    values = series.astype(object).to_numpy()
    typed = [row for row in unknown if isinstance(values[row], (bool, np.bool_, int, float, np.number))]
    if typed:
        meant = _by_meaning(index)
        codes[typed] = [meant.get(_meaning(str(stable_text(values[row]))), 0) for row in typed]
    return codes


def _by_meaning(index: Mapping[str, int]) -> dict[object, int]:
    counts = Counter(_meaning(text) for text in index)
    return {meaning: code for text, code in index.items() if counts[meaning := _meaning(text)] == 1}


def _meaning(text: str) -> object:
    word = text.lower()
    if word in TRUTH:
        return word
    number = number_or_none(text)
    return text if number is None or number != number else number


def texts(series: pd.Series[Any], column: Column) -> list[str | None]:
    """Return a text column as it is written, None where missing or blank.

    Raises:
        ColumnTypeError: Values that are no scalars, with the first rows.
    """
    return list(_as_texts(series, column.name, _written_text))


def _written_text(value: object) -> str | None:
    if isinstance(value, str):
        return well_formed(value) if value and not value.isspace() else None
    return stable_text(value)


def _as_texts(series: pd.Series[Any], name: str, convert: Callable[[object], str | None]) -> np.ndarray:
    result = np.full(len(series), None, dtype=object)
    bad = np.zeros(len(series), dtype=bool)
    for row, value in enumerate(series.to_numpy(dtype=object)):
        try:
            result[row] = convert(value)
        except TypeError:
            bad[row] = True
    if bad.any():
        raise ColumnTypeError(
            f"Column {name!r} must hold plain values, but {counted(int(bad.sum()), 'row holds', 'rows hold')} "
            "something else: "
            f"{first_rows(series.index, bad, series)}."
        )
    return result
