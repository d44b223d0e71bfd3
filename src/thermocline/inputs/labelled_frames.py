"""Frames of features, a label and perhaps row weights: read and checked, nothing decoded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from thermocline.contracts.labelled import Labelled, Reading
from thermocline.contracts.request import Request
from thermocline.data.cells import CellRules
from thermocline.data.columns import Columns, infer_columns
from thermocline.data.frames import check_columns, check_frame, check_names, read_frame
from thermocline.data.image_columns import check_images_read
from thermocline.data.image_files import Naming, image_files, image_name
from thermocline.data.label_columns import label_columns
from thermocline.errors import ConfigError, DataError, counted, listing
from thermocline.inputs.image.reading import located

LARGEST_WEIGHT = 1e12


def read_rows(data: object, reading: Reading) -> Labelled:
    """Read a frame of features, and its label and weights where they have to be there.

    Raises:
        DataError: The frame cannot be used, or a column is missing.
    """
    request, what, columns = reading.request, reading.what, reading.columns
    labels = label_columns(request.label)
    files = image_files(data, _naming(reading, labels))
    if files is None:
        frame, folder = read_frame(data, _cell_rules(reading, labels))
    else:
        frame, folder = files.frame, files.folder
    if reading.for_fit:
        check_frame(frame, what=what)
    elif columns is not None:
        _check_used(frame, columns, what)
    if reading.purpose == "validate" and columns is not None:
        weight = [request.weight] if request.weight else []
        check_columns(frame, [*labels, *columns.used, *weight], what=what)
    if reading.purpose == "score":
        if not len(frame):
            raise DataError(f"{what} is empty: there is nothing to score.")
        check_columns(frame, labels, what=f"{what} (needed to score)")
    notes = [] if files is None else [*files.notes]
    if reading.for_fit:
        frame, left_out = drop_weightless(frame, request.weight, what)
        notes += left_out
    found = Labelled(frame, notes=tuple(notes), roots=reading.roots.beside(data, folder))
    return found if reading.for_fit or columns is None else located(found, columns.of("image"), reading)


def _naming(reading: Reading, labels: tuple[str, ...]) -> Naming:
    """Images that come as files are in the one column of images that training had."""
    own = reading.columns.of("image") if reading.columns is not None else []
    label = labels[0] if len(labels) == 1 else None
    needed = None if reading.purpose == "predict" else label
    categories = reading.request.problem_type is None
    return Naming(needed, own[0] if len(own) == 1 else image_name(label), categories=categories, what=reading.what)


def _cell_rules(reading: Reading, labels: tuple[str, ...]) -> CellRules:
    """Training data are typed by their values; in other files cells stay text, for the form that training had."""
    request = reading.request
    if reading.purpose != "train":
        return CellRules(labels, typed=frozenset([request.weight] if request.weight else []))
    given = request.column_types if isinstance(request.column_types, Mapping) else {}
    numeric = {name for name, kind in given.items() if kind == "numeric"}
    return CellRules(
        labels,
        as_text=frozenset(given.keys() - numeric),
        numeric=frozenset([*numeric, *(labels if request.problem_type == "regression" else ())]),
    )


def _check_used(frame: pd.DataFrame, columns: Columns, what: str) -> None:
    """Check the columns that the model uses; what is in others does not matter."""
    check_names(frame, what=what)
    check_columns(frame, columns.used, what=what)
    if len(frame):
        check_frame(frame[columns.used], what=what)


def feature_columns(found: Labelled, request: Request) -> Columns:
    """Return the columns of features, with types and reasons.

    Raises:
        DataError: There is none to learn from.
        ConfigError: Column types that do not fit.
        ColumnTypeError: A column of images that cannot be read as it is.
    """
    names, weight = label_columns(request.label), request.weight
    frame, given = found.frame, request.column_types
    columns = infer_columns(frame, exclude=[*names, *([weight] if weight else [])], column_types=given)
    check_images_read(columns)
    if columns.used:
        return columns
    reasons = listing([f"{c.name}: {c.reason}" for c in columns.columns], limit=6)
    raise DataError(
        f"train_data has no column to learn from, of {counted(len(frame.columns), 'column')}: "
        f"{reasons or 'there is only the label'}. Add features, or give a type with column_types."
    )


def check_weight_column(request: Request) -> None:
    """Check that the column of weights is named, and is not the label.

    Raises:
        ConfigError: It is not.
    """
    if request.weight is not None and request.weight in label_columns(request.label):
        raise ConfigError(f"sample_weight {request.weight!r} is the label. Name another column.")


def drop_weightless(frame: pd.DataFrame, weight: str | None, what: str) -> tuple[pd.DataFrame, list[str]]:
    """Leave out rows of weight 0, so that neither the split, the scales nor the probe's folds use them.

    Returns:
        The frame without them, and a note where there were some.

    Raises:
        DataError: See `row_weights`.
    """
    if weight is None:
        return frame, []
    counts = row_weights(frame, weight, what) > 0
    if counts.all():
        return frame, []
    left = int((~counts).sum())
    return frame[counts], [f"{counted(left, 'row')} of {what} left out: {'its' if left == 1 else 'their'} weight is 0"]


def row_weights(frame: pd.DataFrame, weight: str, what: str) -> np.ndarray:
    """Return the row weights float64 `(rows,)`.

    Raises:
        MissingColumnError: There is no such column.
        DataError: Weights that are no numbers, negative, missing, infinite, too large or small, or all 0.
    """
    check_columns(frame, [weight], what=f"{what} (sample_weight)")
    series: pd.Series[Any] = frame[weight]
    if not pd.api.types.is_numeric_dtype(series) or pd.api.types.is_bool_dtype(series):
        raise DataError(
            f"The sample weights in column {weight!r} of {what} are {series.dtype}, not numbers. Convert them."
        )
    values = series.to_numpy(dtype=np.float64, na_value=np.nan)
    bad = np.flatnonzero(~(np.isfinite(values) & (values >= 0)))
    if len(bad):
        rows = listing([f"row {frame.index[int(i)]}: {series.iloc[int(i)]}" for i in bad], limit=3)
        raise DataError(
            f"Column {weight!r} of {what} holds "
            f"{counted(len(bad), 'sample weight that is', 'sample weights that are')} negative, missing or "
            f"infinite: {rows}. Weights are finite and at least 0."
        )
    if not values.sum() > 0:
        raise DataError(f"All sample weights in column {weight!r} of {what} are 0. At least one row must count.")
    extreme = np.flatnonzero((values > 0) & ((values > LARGEST_WEIGHT) | (values < 1 / LARGEST_WEIGHT)))
    if len(extreme):
        rows = listing([f"row {frame.index[int(i)]}: {series.iloc[int(i)]}" for i in extreme], limit=3)
        raise DataError(
            f"Column {weight!r} of {what} holds {counted(len(extreme), 'sample weight')} beyond what 32 bits add up: "
            f"{rows}. Only their ratios count: scale them to lie between {1 / LARGEST_WEIGHT:g} and {LARGEST_WEIGHT:g}."
        )
    return values
