"""Calls as other libraries have them: labels beside a table, a preset's name where rows to validate on are due."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

from thermocline.config import preset_names
from thermocline.data.label_columns import label_columns
from thermocline.data.labels_beside import are_labels, rows_and_labels, with_labels
from thermocline.data.tables import as_frame
from thermocline.errors import ConfigError


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
        _check_no_preset(tuning_data)
    train_data = _paired(train_data, names, "train_data")
    if are_labels(tuning_data, names):
        return with_labels(train_data, tuning_data, names), None
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
    if isinstance(metrics, (list, tuple)) and all(isinstance(one, str) for one in metrics):
        many = len(metrics) > 1 and not isinstance(data, (str, Path))  # texts may be classes: as many as rows
        if not many or len(metrics) != len(as_frame(data)) or set(names) & set(as_frame(data).columns):
            return data, metrics
    if not are_labels(metrics, names):
        return data, metrics
    return with_labels(data, metrics, names, what="data"), None


def _paired(data: object, names: tuple[str, ...], what: str) -> object:
    pair = rows_and_labels(data, names)
    return data if pair is None else with_labels(*pair, names, what=what)


def _check_no_preset(given: str) -> None:
    parts, presets, path = [part.strip() for part in given.split(",")], preset_names(), Path(given)
    meant = given if set(parts) <= set(presets) or path.suffix in (".yaml", ".yml") else ""
    if not meant and not path.suffix and not path.exists():
        meant = next(iter(difflib.get_close_matches(given.lower(), presets, n=1)), "")
    if meant:
        raise ConfigError(
            f"tuning_data={given!r} is no table and no file of rows; the second argument is rows to validate on. A "
            f"preset is given by name: presets={meant!r}."
        )
