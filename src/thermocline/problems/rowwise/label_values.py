"""Values of label columns, checked: used at fit and at evaluation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from thermocline.data.row_names import first_rows, plain
from thermocline.data.values import is_broken
from thermocline.errors import LabelError, counted
from thermocline.problems.rowwise.written_numbers import NumberForm, parse_cells


def check_given(series: pd.Series[Any]) -> None:
    """Check that no label is missing.

    Raises:
        LabelError: With the count and the first rows.
    """
    _refuse_missing(series, series.isna().to_numpy(dtype=bool))


def _refuse_missing(series: pd.Series[Any], missing: np.ndarray) -> None:
    if missing.any():
        raise LabelError(
            f"Label {series.name!r} is missing in {int(missing.sum()):,} of {len(series):,} rows: "
            f"{first_rows(series.index, missing)}. Drop them: `frame.dropna(subset=[{series.name!r}])`."
        )


def quantities(series: pd.Series[Any], form: NumberForm | None = None) -> np.ndarray:
    """Return a regression label as finite float64 `(n,)`, or raise LabelError.

    Args:
        series: Numbers of any dtype, text included.
        form: How they are written where they are text, as found in training.
    """
    check_given(series)
    if is_numeric(series):
        values = series.to_numpy(dtype=np.float64)
    else:
        values, odd = parse_cells(series.astype(object), form)
        if odd.any():
            raise LabelError(
                f"Label {series.name!r} of a regression is not numeric in {counted(int(odd.sum()), 'row')}: "
                f"{first_rows(series.index, odd, series)}. Convert it with `pd.to_numeric`, or use "
                "problem_type='multiclass'."
            )
        _refuse_missing(series, np.isnan(values))
    infinite = np.isinf(values)
    if infinite.any():
        raise LabelError(
            f"Label {series.name!r} is infinite in {counted(int(infinite.sum()), 'row')}: "
            f"{first_rows(series.index, infinite, series)}. Drop or correct them."
        )
    return values


def is_numeric(series: pd.Series[Any]) -> bool:
    """Whether a column's dtype is one of real numbers or booleans."""
    return pd.api.types.is_numeric_dtype(series.dtype) and not pd.api.types.is_complex_dtype(series.dtype)


def zero_one(series: pd.Series[Any]) -> np.ndarray:
    """Return a 0/1 label column as float64 `(n,)`, or raise LabelError."""
    check_given(series)
    if is_numeric(series):
        values = series.to_numpy(dtype=np.float64)
        bad = ~np.isin(values, (0.0, 1.0))
    else:
        values = series.astype(object).to_numpy()
        bad = np.array([isinstance(value, str) or not np.isin(value, (0, 1)) for value in values], dtype=bool)
    if bad.any():
        raise LabelError(
            f"Label column {series.name!r} of a multilabel problem holds something else than 0 and 1 in "
            f"{counted(int(bad.sum()), 'row')}: {first_rows(series.index, bad, series)}."
        )
    return values.astype(np.float64)


def lists(series: pd.Series[Any]) -> list[list[Any]]:
    """Return a column of lists as plain lists, or raise LabelError."""
    cells = series.astype(object).tolist()
    bad = np.array([not is_list(cell) for cell in cells], dtype=bool)
    if bad.any():
        raise LabelError(
            f"Label {series.name!r} should hold a list of names in every row, but "
            f"{counted(int(bad.sum()), 'row does', 'rows do')} "
            f"not: {first_rows(series.index, bad, series)}. Use [] for a row without labels."
        )
    return [[plain(value) for value in cell] for cell in cells]


def is_list(value: object) -> bool:
    """Whether a cell holds several values."""
    return isinstance(value, (list, tuple, set, frozenset, np.ndarray))


def check_writable(series: pd.Series[Any]) -> None:
    """Check that class names can be saved: no text, in a list or not, with half a surrogate pair.

    Raises:
        LabelError: With the first rows.
    """
    cells = series.astype(object).tolist()
    names = [cell if is_list(cell) else (cell,) for cell in cells]
    odd = np.array([any(isinstance(name, str) and is_broken(name) for name in row) for row in names], dtype=bool)
    if odd.any():
        raise LabelError(
            f"Label {series.name!r} holds text with half a surrogate pair, which cannot be written, in "
            f"{counted(int(odd.sum()), 'row')}: {first_rows(series.index, odd, series)}. Correct or drop these rows."
        )
