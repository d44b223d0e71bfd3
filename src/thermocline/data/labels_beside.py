"""Labels beside a table, as scikit-learn takes them: `fit(X, y)` means the table with its label column."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from thermocline.data.row_names import first_rows
from thermocline.data.tables import as_frame
from thermocline.errors import LabelError, counted, listing


def are_labels(given: object, names: tuple[str, ...]) -> bool:
    """Return whether an argument holds labels and is no table of rows.

    Args:
        given: What stands beside a table.
        names: The label columns.
    """
    if given is None or isinstance(given, (str, bytes, os.PathLike, Mapping, type)):
        return False
    columns = getattr(given, "columns", None)
    if columns is not None:  # a frame of nothing but the labels
        return set(columns) == set(names)
    if isinstance(given, (list, tuple, range)):
        return bool(given) and all(_is_label(one) for one in given)
    if isinstance(given, (pd.Series, pd.Index, pd.api.extensions.ExtensionArray)):
        return True
    shape = getattr(given, "shape", None)
    if shape is not None:  # an array or a tensor, a Series of polars
        return len(shape) == 1 or (len(shape) == 2 and shape[1] == len(names))
    return type(given).__module__.partition(".")[0] == "pyarrow" and hasattr(given, "to_pylist")


def with_labels(data: object, labels: Any, names: tuple[str, ...], *, what: str = "train_data") -> pd.DataFrame:
    """Return a table with labels that were given beside it as its label columns; nothing is written to either.

    Args:
        data: The table, without the labels.
        labels: As many as it has rows, in their order: a Series, an array, a list; a frame or a matrix where the label
            is several columns.
        names: The label columns.
        what: What the table is called, for messages.

    Raises:
        DataError: The table is none.
        LabelError: It has the labels already, or others are meant: another number, or another index.
    """
    if isinstance(data, (str, os.PathLike)):
        raise LabelError(
            f"{what} is the path {str(data)!r}, and labels were given beside it: give both in one table. Read the file "
            f"with pandas and pass the frame, or add the column {names[0]!r} to the file."
        )
    frame = as_frame(data)
    present = [name for name in names if name in frame.columns]
    if present:
        raise LabelError(
            f"{what} has the label column {listing(present)}, and labels were given beside it as well. Leave one of "
            "the two out; rows to validate on are a table of their own, labels included."
        )
    columns = _columns(labels, names)
    for name, column in columns.items():
        if len(column) != len(frame):
            raise LabelError(
                f"{what} has {counted(len(frame), 'row')}, and {counted(len(column), 'label was', 'labels were')} "
                f"given beside it for {name!r}. Give one a row."
            )
        if isinstance(data, pd.DataFrame) and isinstance(labels, (pd.Series, pd.DataFrame)):
            _check_index(frame, column, name, what)
    return frame.assign(**{name: column.set_axis(frame.index) for name, column in columns.items()})


def _is_label(value: object) -> bool:
    """Whether an item of a list is a label: one value, or a list of them; a mapping is a row."""
    if isinstance(value, (list, tuple, set, frozenset)):
        return not any(isinstance(one, Mapping) for one in value)
    return bool(pd.api.types.is_scalar(value))


def _columns(labels: Any, names: tuple[str, ...]) -> dict[str, pd.Series[Any]]:
    """Return labels as a Series for each label column."""
    if getattr(labels, "columns", None) is not None:
        frame = as_frame(labels)
        return {name: frame[name] for name in names}
    if len(names) > 1 or len(getattr(labels, "shape", ())) == 2:
        return _of_matrix(labels, names)
    if isinstance(labels, pd.Series):
        return {names[0]: labels}
    if isinstance(labels, (pd.Index, pd.api.extensions.ExtensionArray, np.ndarray)):
        return {names[0]: pd.Series(labels)}
    return {names[0]: pd.Series(_listed(labels))}


def _of_matrix(labels: Any, names: tuple[str, ...]) -> dict[str, pd.Series[Any]]:
    rows = [one if isinstance(one, (list, tuple)) else [one] for one in _listed(labels)]
    if {len(row) for row in rows} != {len(names)}:
        raise LabelError(
            f"The label is {counted(len(names), 'column')}, {listing(names)}, and the labels given beside the table "
            "are not as many in each row. Give a frame of these columns, or an array with a column for each."
        )
    return {name: pd.Series([row[i] for row in rows]) for i, name in enumerate(names)}


def _listed(labels: Any) -> list[Any]:
    """Return labels of any library as a list of plain values, or of lists where they are a matrix."""
    ways = [way for way in ("to_pylist", "tolist", "to_list") if hasattr(labels, way)]
    return list(getattr(labels, ways[0])() if ways else labels)


def _check_index(frame: pd.DataFrame, column: pd.Series[Any], name: str, what: str) -> None:
    if column.index.equals(frame.index):
        return
    other = np.array([a != b for a, b in zip(frame.index, column.index, strict=True)])
    if not other.any():
        return
    raise LabelError(
        f"The labels for {name!r} have another index than {what}: {first_rows(frame.index, other, list(column.index))} "
        "beside it. If they belong together by the index, pass y.loc[X.index]; if by their order, y.to_numpy()."
    )


def rows_and_labels(data: object, names: tuple[str, ...]) -> tuple[object, object] | None:
    """Return the two parts of a pair of a table and its labels, `(X, y)`; None where data is no such pair."""
    if isinstance(data, (tuple, list)) and len(data) == 2:
        table, labels = data
        is_table = isinstance(table, Mapping) or hasattr(table, "columns") or hasattr(table, "__arrow_c_stream__")
        if is_table and not isinstance(table, Sequence) and are_labels(labels, names):
            return table, labels
    return None
