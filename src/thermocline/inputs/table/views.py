"""What the table tower reads, as text: each cell with the number or the category that it is read as."""

from __future__ import annotations

import numpy as np
import pandas as pd

from thermocline.contracts.showing import View
from thermocline.data.column_rules import missing_mask
from thermocline.inputs.table.processor import TableProcessor
from thermocline.inputs.table.rows import TableRows

MISSING = "missing"


def table_views(processor: TableProcessor, frame: pd.DataFrame, part: TableRows, rows: np.ndarray) -> list[list[View]]:
    """Return the cells of some rows, each with what it is read as.

    Args:
        processor: Made `part` from `frame`.
        frame: The frame.
        part: Its rows.
        rows: Positions of the rows that are shown.
    """
    shown = frame.iloc[rows]
    gone = {name: missing_mask(shown[name]).tolist() for name in _names(processor)}
    views: list[list[View]] = []
    for place, row in enumerate(rows):
        cells = {name: MISSING if gone[name][place] else cell_text(shown[name].iloc[place]) for name in gone}
        numbers = [
            View(
                one.name, cells[one.name], _number(part.numbers[row, j], missing=bool(part.missing[row, j])), brief=True
            )
            for j, one in enumerate(processor.numeric)
        ]
        categories = [
            View(
                one.name,
                cells[one.name],
                _category(int(part.codes[row, j]), len(processor.vocabularies[j])),
                brief=True,
            )
            for j, one in enumerate(processor.categorical)
        ]
        views.append([*numbers, *categories])
    return views


def _names(processor: TableProcessor) -> list[str]:
    return [column.name for column in (*processor.numeric, *processor.categorical)]


def cell_text(value: object) -> str:
    """Return a cell as text; of a number at most six digits."""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _number(value: float, *, missing: bool) -> str:
    return "read as the median, marked as missing" if missing else f"read as {value:.2f}"


def _category(code: int, known: int) -> str:
    return f"read as category {code} of {known}" if code else "read as missing or unknown"
