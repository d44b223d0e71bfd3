"""Cells of a table as arrays, in the program beside an exported model; see `data.standalone_cells`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from thermocline.data.standalone_cells import Categories, cell_of, number_of


class TableReader:
    """Turns numbers and categories into arrays, as `TableProcessor` does.

    Args:
        settings: Columns with `name` and `form`, `centre` and `scale` of the numbers, `vocabularies` of the categories.
        _folder: The export's.
    """

    def __init__(self, settings: Mapping[str, Any], _folder: Path) -> None:
        self.numeric, self.categorical = settings["numeric"], settings["categorical"]
        self.centre = np.array(settings["centre"], dtype=np.float64)
        self.scale = np.array(settings["scale"], dtype=np.float64)
        forms = (column["form"] for column in self.categorical)
        self.categories = [Categories(v, form) for v, form in zip(settings["vocabularies"], forms, strict=True)]
        self.clip = settings["clip"]

    def arrays(self, rows: Sequence[Mapping[str, Any]], _folder: Path | None) -> dict[str, np.ndarray]:
        """Return `numbers` and `missing` float32 `(rows, numeric)`, `codes` int64 `(rows, categorical)`."""
        raw = np.array([[_number(row, column) for column in self.numeric] for row in rows], dtype=np.float64)
        raw = raw.reshape(len(rows), len(self.numeric))
        gone = np.isnan(raw)
        scaled = np.where(gone, 0.0, (raw - self.centre) / self.scale)
        named = list(zip(self.categorical, self.categories, strict=True))
        codes = [[known.code(cell_of(row, column["name"])) for column, known in named] for row in rows]
        return {
            "numbers": np.where(gone, 0.0, scaled / np.hypot(1.0, scaled / self.clip)).astype(np.float32),
            "missing": gone.astype(np.float32),
            "codes": np.array(codes, dtype=np.int64).reshape(len(rows), len(self.categorical)),
        }


def _number(row: Mapping[str, Any], column: Mapping[str, Any]) -> float:
    try:
        return number_of(cell_of(row, column["name"]), column["form"])
    except ValueError as error:
        raise ValueError(f"Column {column['name']!r}: {error}") from None
