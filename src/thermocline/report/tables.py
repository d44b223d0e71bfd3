"""Tables as text that fits the screen, and as HTML in one style that is legible on light and dark."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from html import escape

from thermocline.errors import escaped

STYLE = (
    "<style>.tcl{border-collapse:collapse;font:13px/1.4 system-ui,sans-serif;color:inherit}"
    "div.tcl{margin:4px 0 14px}"
    ".tcl th,.tcl td{padding:2px 12px 2px 0;text-align:left!important;border-bottom:1px solid #8884;background:none}"
    ".tcl .n{text-align:right!important;font-variant-numeric:tabular-nums}.tcl .w{font-weight:600}.tcl .f{opacity:.55}"
    ".tcl .bar{display:inline-block;height:.8em;background:#2a8fbd;vertical-align:baseline}</style>"
)

UNKNOWN_WIDTH = 100
"""Columns of text where there is no terminal and `COLUMNS` is not set."""

LEAST_WIDTH = 60
"""No text is made for fewer columns: a table of numbers would have to be cut."""

_GAP = 2


def screen_width() -> int:
    """Return how many columns of text fit: `COLUMNS`, or those of the terminal, or 100 where there is none."""
    return max(shutil.get_terminal_size((UNKNOWN_WIDTH, 24)).columns, LEAST_WIDTH)


def count(number: int) -> str:
    """Return a number of weights as `22.7M`, `590k`, `12`."""
    for size, unit in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if number >= size:
            return f"{number / size:.3g}{unit}"
    return str(number)


def table(rows: Sequence[Sequence[str]], header: Sequence[str], right: Sequence[int] = ()) -> str:
    """Return rows as aligned text that fits the screen: where it is too wide, texts and headers are wrapped.

    Args:
        rows: Cells as text, a sequence for each row.
        header: The names of the columns.
        right: Indices of columns that are aligned right, such as numbers; their cells are never wrapped.

    Example:
        >>> print(table([["stem", "11.9M"], ["block", "5.32M"]], ["layer", "weights"], right=[1]))
        layer  weights
        stem     11.9M
        block    5.32M
    """
    cells = [[escaped(cell) for cell in row] for row in rows]
    lines = [list(header), *cells]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    if sum(widths) + _GAP * (len(widths) - 1) > screen_width():
        return _wrapped(cells, header, frozenset(right))
    return "\n".join(
        (" " * _GAP)
        .join(c.rjust(w) if i in right else c.ljust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True)))
        .rstrip()
        for line in lines
    )


def _wrapped(cells: Sequence[Sequence[str]], header: Sequence[str], right: frozenset[int]) -> str:
    """A table as text of the screen's width; several lines for a row where its texts do not fit."""
    from io import StringIO

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    made = Table(box=None, padding=(0, _GAP, 0, 0), pad_edge=False)
    for i, name in enumerate(header):
        longest = max((len(row[i]) for row in cells), default=0) if i in right else None
        made.add_column(Text(name), justify="right" if i in right else "left", overflow="fold", min_width=longest)
    for row in cells:
        made.add_row(*map(Text, row))
    out = StringIO()
    Console(file=out, width=screen_width(), color_system=None, legacy_windows=False).print(made)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())


def html_cells(cells: Sequence[str], right: Sequence[int] = (), *, tag: str = "td") -> str:
    """Return the cells of one HTML row, escaped; those whose index is in `right` are aligned right."""
    return "".join(f"<{tag}{' class=n' if i in right else ''}>{escape(cell)}</{tag}>" for i, cell in enumerate(cells))


def html_table(rows: Sequence[Sequence[str]], header: Sequence[str], right: Sequence[int] = ()) -> str:
    """Return rows as an HTML table, without its style: `STYLE` stands once before it.

    Args:
        rows: Cells as text, a sequence for each row; they are escaped.
        header: The names of the columns.
        right: Indices of columns that are aligned right, such as numbers.
    """
    body = "".join(f"<tr>{html_cells(row, right)}</tr>" for row in rows)
    head = html_cells(header, right, tag="th")
    return f"<table class=tcl><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def html_warnings(warnings: Sequence[str]) -> str:
    """Return warnings as the first lines of an HTML block."""
    return "".join(f"<div class=w>⚠ {escape(text)}</div>" for text in warnings)
