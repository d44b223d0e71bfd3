"""Rows and values as messages name them."""

from __future__ import annotations

import numbers
import reprlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 40
_SHORT.maxlist = 4


def first_rows(index: pd.Index[Any], mask: np.ndarray, values: Sequence[Any] | pd.Series[Any] | None = None) -> str:
    """Return the first rows that a mask marks, by position, by index label where that differs.

    Args:
        index: The frame's index.
        mask: Booleans `(n,)`.
        values: What the rows hold, shown beside them.
    """
    positions = np.flatnonzero(mask)
    cells = values.to_numpy(dtype=object) if isinstance(values, pd.Series) else values
    parts = []
    for position in positions[:3]:
        label = plain(index[position])
        same = isinstance(label, numbers.Integral) and label == position
        named = f"row {position}" if same else f"row {position} (index {_SHORT.repr(label)})"
        parts.append(named if cells is None else f"{named}: {_SHORT.repr(plain(cells[position]))}")
    more = f" and {len(positions) - 3:,} more" if len(positions) > 3 else ""
    return ", ".join(parts) + more


def plain(value: Any) -> Any:
    """Return a numpy scalar as a Python value, anything else as it is."""
    return value.item() if isinstance(value, np.generic) else value


def is_name(value: Any) -> bool:
    """Whether a value can be a class: a text, a number or a boolean that is there."""
    value = plain(value)
    return isinstance(value, (bool, int, float, str)) and value == value
