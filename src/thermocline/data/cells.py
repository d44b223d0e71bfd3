"""Cells of text files: which are missing, and what a whole column of them holds.

A file's cells are read as they are written. The training file's columns are typed by all of their values; the cells of
other files stay text, and are parsed by the form that the training data had.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from thermocline.data.values import CODE, TRUTH, as_float, number_or_none, plain_numbers, spelled_number

# The words that `pandas.read_csv` takes for missing, as they are written.
MISSING_CELLS = frozenset(
    {"", "NA", "N/A", "n/a", "#NA", "#N/A", "#N/A N/A", "<NA>", "NULL", "null", "None", "NaN", "nan", "-NaN", "-nan"}
    | {"1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN"}
)
WHOLE = re.compile(r"[+-]?\d{1,18}")


@dataclass(frozen=True)
class CellRules:
    """How the cells of a text file are read.

    Attributes:
        labels: Label columns. Only an empty cell of theirs is missing, so that `NA` can be a class; among numbers
            a word for missing is missing.
        as_text: Columns whose cells stay text, because the user gave them a type that is not numeric.
        numeric: Columns that the user says are numbers: leading zeros are no codes there.
        typed: Columns that are typed by their values; None: all.
        written: Whether every other cell is the text that is written, of which only an empty one is missing.
    """

    labels: tuple[str, ...] = ()
    as_text: frozenset[str] = frozenset()
    numeric: frozenset[str] = frozenset()
    typed: frozenset[str] | None = None
    written: bool = False


def read_cells(frame: pd.DataFrame, rules: CellRules) -> pd.DataFrame:
    """Return a frame of texts with missing cells as NaN, and with typed columns as numbers, truth values or text."""
    columns = {name: _read_column(frame[name], str(name), rules) for name in frame.columns}
    return pd.DataFrame(columns, index=frame.index, columns=frame.columns)


def _read_column(series: pd.Series[Any], name: str, rules: CellRules) -> pd.Series[Any]:
    missing = frozenset({""}) if rules.written or name in rules.labels else MISSING_CELLS
    if name not in rules.as_text and (rules.typed is None or name in rules.typed):
        codes, distinct = pd.factorize(series.to_numpy(dtype=object))
        values = _typed(distinct.tolist(), missing, codes=name not in rules.numeric)
        if values is not None:
            return pd.Series(values[codes], index=series.index, name=name)
    return series.mask(series.isin(missing))


def _typed(distinct: Sequence[str], missing: frozenset[str], *, codes: bool) -> np.ndarray | None:
    """Return the value of each distinct cell, or None where they are text."""
    present = [text for text in distinct if text not in missing and text.strip()]
    if not present:
        return np.full(len(distinct), np.nan) if distinct else None
    if all(text.strip().lower() in TRUTH for text in present):
        truths = [TRUTH.get(text.strip().lower(), math.nan) for text in distinct]
        return np.array(truths, dtype=bool if len(present) == len(distinct) else object)
    if codes and any(CODE.match(text.strip()) for text in present):
        return None
    if all(WHOLE.fullmatch(text.strip()) for text in distinct):
        return np.array([int(text) for text in distinct], dtype=np.int64)
    plain = plain_numbers(distinct)
    if plain is not None:
        return plain
    numbers = [math.nan if text in missing else _number(text) for text in distinct]
    if None in numbers or all(number != number for number in numbers):
        return None
    return np.array(numbers, dtype=np.float64)


def _number(text: str) -> float | None:
    return None if text.strip().lower() in TRUTH else spelled_number(text)


# -- labels whose form is known --------------------------------------------------------------------


def as_numbers(series: pd.Series[Any]) -> pd.Series[Any]:
    """Return a column in which texts that spell numbers are numbers; others stay as they are."""
    return _replaced(series, spelled_number)


def as_classes(series: pd.Series[Any], classes: Sequence[Any]) -> pd.Series[Any]:
    """Return labels in which texts that spell a class are that class, where classes are numbers or truth values."""
    if any(isinstance(value, str) for value in classes):
        return series
    if all(isinstance(value, bool) for value in classes):
        return _replaced(series, _truth_of)
    known = {as_float(value): value for value in classes if isinstance(value, (bool, int, float))}

    def to_class(text: str) -> Any:
        number = spelled_number(text)
        return known.get(number, int(number) if number.is_integer() else number) if number is not None else None

    return _replaced(series, to_class)


def _truth_of(text: str) -> Any:
    known = TRUTH.get(text.strip().lower())
    if known is not None:
        return known
    number = number_or_none(text)
    return bool(number) if number in (0.0, 1.0) else number


def _replaced(series: pd.Series[Any], convert: Any) -> pd.Series[Any]:
    if isinstance(series.dtype, pd.CategoricalDtype):
        series = series.astype(object)
    if series.dtype != object and not pd.api.types.is_string_dtype(series.dtype):
        return series
    values = series.astype(object).tolist()
    if not any(isinstance(value, str) for value in values):
        return series
    found = {value: convert(value) for value in values if isinstance(value, str)}
    result = [value if not isinstance(value, str) or found[value] is None else found[value] for value in values]
    return pd.Series(result, index=series.index, name=series.name, dtype=object)
