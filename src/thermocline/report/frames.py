"""Frames of results that print as tables in which no cell is cut, and their HTML in the style of all tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from thermocline.report.layout import LEGIBLE
from thermocline.report.tables import html_block, html_lines, html_table, table

MOST_ROWS = 60
"""Rows that are shown; of more, the first and the last ones."""


class TextFrame(pd.DataFrame):
    """A DataFrame whose text fits the screen: long texts are folded, and none is cut.

    Slices are of the same class. `to_string` and all else is as pandas has it.
    """

    _spare: Sequence[str] = ()
    _legible: int = LEGIBLE

    @property
    def _constructor(self) -> Any:
        return type(self)

    def __repr__(self) -> str:
        if self.columns.nlevels > 1 or self.index.nlevels > 1:
            return super().__repr__()
        return frame_text(self, spare=self._spare, legible=self._legible)


def frame_text(frame: pd.DataFrame, *, index: bool = True, spare: Sequence[str] = (), legible: int = LEGIBLE) -> str:
    """Return a frame as a text table that fits the screen.

    Args:
        frame: With one level of columns and one of the index.
        index: Whether the index is the first column.
        spare: Columns that may be left out on a narrow screen, the first one first.
        legible: How narrow a column of texts may become before one is left out.
    """
    whole = len(frame) <= MOST_ROWS
    shown = _ends(frame)
    cells = [[_cell(value) for value in shown.iloc[:, place]] for place in range(shown.shape[1])]
    header = [str(name) for name in shown.columns]
    right = [i for i, kind in enumerate(shown.dtypes) if pd.api.types.is_numeric_dtype(kind)]
    if index:
        cells.insert(0, [str(value) for value in shown.index])
        header.insert(0, "" if shown.index.name is None else str(shown.index.name))
        right = [0] * pd.api.types.is_numeric_dtype(shown.index.dtype) + [i + 1 for i in right]
    if not len(shown) or not header:
        return f"{'  '.join(header).strip()}\n(no rows)".lstrip()
    text = table(
        [list(row) for row in zip(*cells, strict=True)],
        header,
        right,
        [header.index(name) for name in spare if name in header],
        legible=legible,
    )
    return text if whole else f"{text}\n(the first and the last {MOST_ROWS // 2} of {len(frame):,} rows)"


def html_frame(frame: pd.DataFrame) -> str:
    """Return a frame as an HTML block: numbers to four digits on the right, nothing where a value is missing.

    Args:
        frame: Any; the index is left out.

    Example:
        >>> import pandas as pd
        >>> "<td class=n align=right>0.9</td><td></td>" in html_frame(pd.DataFrame({"score": [0.9], "why": [None]}))
        True
    """
    shown = _ends(frame)
    columns = [frame.iloc[:, place] for place in range(frame.shape[1])]
    right = [place for place, column in enumerate(columns) if column.dtype.kind in "iuf"]
    rows = [[_cell(value) for value in row] for row in shown.itertuples(index=False, name=None)]
    if len(rows) < len(frame):
        rows.insert(MOST_ROWS // 2, ["…"] * frame.shape[1])
    below = [f"{len(frame):,} rows"] if len(rows) < len(frame) else []
    return html_block(html_table(rows, [str(name) for name in frame.columns], right), html_lines(below))


def _ends(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows that are shown."""
    if len(frame) <= MOST_ROWS:
        return frame
    return pd.concat([frame.iloc[: MOST_ROWS // 2], frame.iloc[-MOST_ROWS // 2 :]])


def _cell(value: Any) -> str:
    if value is None or value is pd.NA or value is pd.NaT:
        return ""
    if isinstance(value, float):
        return "" if value != value else f"{value:.4g}"
    return str(value)
