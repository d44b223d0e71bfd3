"""The label columns of a frame: named, and there once each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

from thermocline.errors import ConfigError, LabelError, MissingColumnError, did_you_mean, listing

MOST_SHOWN = 8
"""Longer lists that are no names of columns are values."""


def label_columns(label: object) -> tuple[str, ...]:
    """Return the label columns as a tuple; none where the label is None (`ProblemInfo.label_optional`).

    Raises:
        ConfigError: Neither a name nor a list of two or more different names.
    """
    if label is None:
        return ()
    if isinstance(label, str):
        return (label,)
    names = tuple(label) if isinstance(label, list | tuple | pd.Index | np.ndarray) and np.ndim(label) == 1 else ()
    if not names or not all(isinstance(name, str) for name in names):
        raise ConfigError(f"label is a column name or a list of column names, not {_described(label)}")
    if len(names) == 1:
        raise ConfigError(f"label={list(names)!r} lists one column. For one label column pass label={names[0]!r}.")
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise ConfigError(f"label names {listing(twice)} more than once.")
    return names


def _described(label: object) -> str:
    """Return what was given in place of a label, with the way out where it is data."""
    if isinstance(label, pd.Series | np.ndarray) or (isinstance(label, list | tuple) and len(label) > MOST_SHOWN):
        named = getattr(label, "name", None)
        name = named if isinstance(named, str) else "price"
        return f"a {type(label).__name__} of values. Name the column that holds them: Predictor({name!r}).fit(data)."
    if isinstance(label, pd.DataFrame | Mapping) or hasattr(label, "__arrow_c_stream__") or hasattr(label, "columns"):
        return f"a {type(label).__name__}. Name the column, and pass the data to fit: Predictor('price').fit(data)."
    return f"{label!r}."


def check_there(frame: pd.DataFrame, names: Iterable[str], *, what: str) -> None:
    """Check that the label columns are in the frame, once each.

    Raises:
        MissingColumnError: With the nearest names.
        LabelError: More than one column of that name.
    """
    present = list(frame.columns)
    for name in names:
        if name not in present:
            raise MissingColumnError(
                f"{what} has no label column {name!r}.{did_you_mean(name, present)} "
                f"It has {listing(present, limit=20)}."
            )
        if present.count(name) > 1:
            raise LabelError(f"{what} has {present.count(name)} columns named {name!r}, the label. Keep one.")
