"""Numeric and categorical columns to arrays: medians, spreads and vocabularies fitted to the training rows."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from thermocline.data.column_rules import category_form
from thermocline.data.column_values import categories, category_codes, numbers
from thermocline.data.columns import Column, Columns
from thermocline.errors import ThermoclineWarning, listing
from thermocline.inputs.table.rows import TableRows

FEWEST_UNKNOWN = 5  # values: a few may well be new
CLIP = 3.0  # standardised numbers are limited smoothly to this


@dataclass(frozen=True)
class TableProcessor:
    """Medians, spreads and categories of the training rows' numeric and categorical columns.

    Attributes:
        numeric: The numeric columns, in order.
        categorical: The categorical columns, in order.
        centre: Median of each numeric column.
        scale: Spread of each numeric column (half the distance between the 16th and 84th percentile, or the
            standard deviation where that is 0, or 1).
        vocabularies: For each categorical column the kept categories; the code of `vocabularies[j][i]` is `i + 1`.
    """

    numeric: tuple[Column, ...]
    categorical: tuple[Column, ...]
    centre: tuple[float, ...]
    scale: tuple[float, ...]
    vocabularies: tuple[tuple[str, ...], ...]

    @classmethod
    def fit(cls, frame: pd.DataFrame, columns: Columns, *, max_categories: int) -> TableProcessor:
        """Compute medians, spreads and vocabularies.

        Args:
            frame: The training rows.
            columns: The frame's columns; those that are numeric or categorical are taken.
            max_categories: The most categories kept per column; the rarer ones share code 0 with missing values.
        """
        numeric = tuple(c for c in columns.columns if c.kind == "numeric")
        categorical = tuple(c for c in columns.columns if c.kind == "categorical")
        spreads = [_spread(numbers(frame[c.name], c)) for c in numeric]
        vocabularies = tuple(_vocabulary(categories(frame[c.name], c), max_categories) for c in categorical)
        return cls(numeric, categorical, tuple(s[0] for s in spreads), tuple(s[1] for s in spreads), vocabularies)

    @property
    def cardinalities(self) -> list[int]:
        """Number of codes per categorical column, the 0 for missing or unknown included."""
        return [len(vocabulary) + 1 for vocabulary in self.vocabularies]

    def rows(self, frame: pd.DataFrame) -> TableRows:
        """Turn a frame into arrays.

        Raises:
            ColumnTypeError: A value of a numeric column is not a number.
        """
        n = len(frame)
        values = np.zeros((n, len(self.numeric)), dtype=np.float32)
        missing = np.zeros((n, len(self.numeric)), dtype=np.float32)
        for j, column in enumerate(self.numeric):
            raw = numbers(frame[column.name], column)
            gone = np.isnan(raw)
            scaled = (raw - self.centre[j]) / self.scale[j]
            values[:, j] = np.where(gone, 0.0, smooth_clip(scaled))
            missing[:, j] = gone
        codes = np.zeros((n, len(self.categorical)), dtype=np.int64)
        for j, column in enumerate(self.categorical):
            codes[:, j] = category_codes(frame[column.name], column, self.vocabularies[j])
            if self.vocabularies[j] and n and not codes[:, j].any():
                _warn_of_unknown(frame[column.name], column, self.vocabularies[j])
        return TableRows(values, missing, codes)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {
            "columns": Columns(self.numeric + self.categorical).to_dict(),
            "centre": list(self.centre),
            "scale": list(self.scale),
            "vocabularies": [list(v) for v in self.vocabularies],
            "forms": True,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> TableProcessor:
        """Inverse of `to_dict`."""
        columns = Columns.from_dict(data["columns"]).columns
        categorical = tuple(c for c in columns if c.kind == "categorical")
        if not data.get("forms"):  # 0.1 did not tell categories that are numbers from others
            forms = [category_form(vocabulary) for vocabulary in data["vocabularies"]]
            categorical = tuple(replace(c, form=form) for c, form in zip(categorical, forms, strict=True))
        return cls(
            tuple(c for c in columns if c.kind == "numeric"),
            categorical,
            tuple(data["centre"]),
            tuple(data["scale"]),
            tuple(tuple(v) for v in data["vocabularies"]),
        )


def _warn_of_unknown(series: pd.Series[Any], column: Column, vocabulary: tuple[str, ...]) -> None:
    """Warn where there are more than a few values, and training knew none of them."""
    given = [value for value in categories(series, column) if value is not None]
    if len(given) < FEWEST_UNKNOWN:
        return
    warnings.warn(
        f"Column {column.name!r}: none of its {len(given):,} values was seen in training, such as "
        f"{listing(dict.fromkeys(given), limit=3)}; training had {listing(vocabulary, limit=3)}. They count as "
        "missing. If they are meant to be the same, write them as in training.",
        ThermoclineWarning,
        stacklevel=2,
    )


def smooth_clip(x: np.ndarray) -> np.ndarray:
    """Map numbers smoothly into (-3, 3), in the same order (Holzmüller, Grinsztajn and Steinwart, NeurIPS 2024)."""
    return np.asarray(x / np.hypot(1.0, x / CLIP))


def _spread(values: np.ndarray) -> tuple[float, float]:
    present = values[~np.isnan(values)]
    if not len(present):
        return 0.0, 1.0
    low, centre, high = np.percentile(present, [15.87, 50.0, 84.13])
    scale = (high - low) / 2 or float(present.std()) or 1.0
    return float(centre), float(scale)


def _vocabulary(values: np.ndarray, most: int) -> tuple[str, ...]:
    counts = Counter(value for value in values if value is not None)
    kept = sorted(counts, key=lambda value: (-counts[value], value))[:most]
    return tuple(sorted(kept))
