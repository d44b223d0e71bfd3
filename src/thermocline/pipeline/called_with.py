"""Calls as other libraries have them: labels beside a table, a preset's name where rows to validate on are due."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Set, ValuesView
from pathlib import Path
from typing import Any

from thermocline.config import preset_names
from thermocline.data.label_columns import label_columns
from thermocline.data.labels_beside import are_labels, rows_and_labels, with_labels
from thermocline.data.tables import as_frame
from thermocline.errors import ConfigError, DataError
from thermocline.registry import is_metric


def tables_to_fit(train_data: object, tuning_data: object, label: object) -> tuple[object, object]:
    """Return training and tuning data as tables with their labels.

    Args:
        train_data: As `fit` was given it; also a pair of a table and its labels.
        tuning_data: Rows to validate on, or a pair; or the labels of `train_data`.
        label: The label column or columns.

    Raises:
        ConfigError: A preset in place of tuning data.
        LabelError: Labels that do not fit the table.
    """
    names = label_columns(label)
    if isinstance(tuning_data, str):
        _check_no_name(tuning_data, train_data)
    train_data = _paired(train_data, names, "train_data")
    if are_labels(tuning_data, names):
        return with_labels(train_data, tuning_data, names), None
    if isinstance(tuning_data, (Set, Iterator, ValuesView)) or len(getattr(tuning_data, "shape", (1, 2))) == 0:
        raise DataError(
            "The second argument is rows to validate on; or, where train_data has no label column, its labels: a "
            f"Series, an array or a list, one a row. It cannot be a {type(tuning_data).__name__}."
        )
    return train_data, _paired(tuning_data, names, "tuning_data")


def table_to_score(data: object, metrics: Any, label: object) -> tuple[object, Any]:
    """Return data as a table with its labels, and the metrics, which `evaluate(X, y)` has none of.

    Args:
        data: As `evaluate` was given it; also a pair of a table and its labels.
        metrics: Names of metrics; or the labels of `data`.
        label: The label column or columns.

    Raises:
        LabelError: Labels that do not fit the table.
    """
    names = label_columns(label)
    data = _paired(data, names, "data")
    if not are_labels(metrics, names) or isinstance(data, (str, os.PathLike)) or _are_metrics(metrics):
        return data, metrics
    if isinstance(metrics, (list, tuple)) and len(metrics) != len(as_frame(data)):  # metrics, one of them misspelled
        return data, metrics
    return with_labels(data, metrics, names, what="data"), None


def _are_metrics(given: Any) -> bool:
    return all(isinstance(one, str) and is_metric(one) for one in given)


def _paired(data: object, names: tuple[str, ...], what: str) -> object:
    pair = rows_and_labels(data, names)
    return data if pair is None else with_labels(*pair, names, what=what)


def _check_no_name(given: str, train_data: object) -> None:
    """Raise for the name of a preset, or of a column of the training data, in place of rows."""
    if given in set(getattr(train_data, "columns", ())):
        raise ConfigError(
            f"tuning_data={given!r} is the name of a column; the second argument is rows to validate on. The label is "
            f"named before: Predictor({given!r})."
        )
    parts, presets, path = [part.strip() for part in given.split(",")], preset_names(), Path(given)
    meant = given if set(parts) <= set(presets) or path.suffix in (".yaml", ".yml") else ""
    if not meant and not path.suffix and not path.exists():
        meant = next(iter(difflib.get_close_matches(given.lower(), presets, n=1)), "")
    if meant:
        raise ConfigError(
            f"tuning_data={given!r} is no table and no file of rows; the second argument is rows to validate on. A "
            f"preset is given by name: presets={meant!r}."
        )
