"""Frames of results as HTML, in the style of all tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thermocline.report.tables import html_block, html_lines, html_table

if TYPE_CHECKING:
    import pandas as pd

MOST_ROWS = 60
"""A frame of more rows is shown from both ends."""


def html_frame(frame: pd.DataFrame) -> str:
    """Return a frame as an HTML block: numbers to four digits on the right, nothing where a value is missing.

    Args:
        frame: Any; the index is left out.

    Example:
        >>> import pandas as pd
        >>> "<td class=n align=right>0.9</td><td></td>" in html_frame(pd.DataFrame({"score": [0.9], "why": [None]}))
        True
    """
    shown = frame if len(frame) <= MOST_ROWS else _ends(frame)
    columns = [frame.iloc[:, place] for place in range(frame.shape[1])]
    right = [place for place, column in enumerate(columns) if column.dtype.kind in "iuf"]
    rows = [[_cell(value) for value in row] for row in shown.itertuples(index=False, name=None)]
    if len(rows) < len(frame):
        rows.insert(MOST_ROWS // 2, ["…"] * frame.shape[1])
    below = [f"{len(frame):,} rows"] if len(rows) < len(frame) else []
    return html_block(html_table(rows, [str(name) for name in frame.columns], right), html_lines(below))


def _ends(frame: pd.DataFrame) -> pd.DataFrame:
    import pandas as pd

    return pd.concat([frame.head(MOST_ROWS // 2), frame.tail(MOST_ROWS // 2)])


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and value != value):
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
