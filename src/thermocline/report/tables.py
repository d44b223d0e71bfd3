"""Tables as text that fits the screen, and as HTML in one style that is legible on light and dark."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from html import escape

from thermocline.errors import escaped

STYLE = (
    "<style>.tcl{font:13px/1.4 system-ui,sans-serif;color:inherit;text-align:left}"
    "div.tcl{margin:4px 0 14px;overflow-x:auto}"
    "table.tcl{border-collapse:collapse!important;table-layout:auto!important;width:auto!important;border:0!important;"
    "margin:4px 0 8px!important}"
    ".tcl tr,.tcl thead{background:none!important;border:0!important}"
    ".tcl th,.tcl td{padding:3px 14px 3px 0!important;text-align:left!important;vertical-align:baseline!important;"
    "border:0!important;border-bottom:1px solid #8884!important;background:none!important;font-weight:400!important;"
    "max-width:44em!important;white-space:normal!important}"
    ".tcl th{font-weight:600!important}"
    ".tcl .n{text-align:right!important;white-space:nowrap!important;font-variant-numeric:tabular-nums}"
    ".tcl .s{white-space:nowrap!important}.tcl td:not(.s)>div{min-width:11em}"
    ".tcl th.n{white-space:normal!important}"
    ".tcl .w,.tcl b{font-weight:600}.tcl .f{opacity:.55}"
    ".tcl img{display:inline-block;margin:0!important;max-width:100%!important;background:none!important}</style>"
)
"""The style of all tables, stronger than what JupyterLab and VS Code say of tables. GitHub takes it away, so nothing is
to be read from it alone: numbers are aligned by attributes too, and what is drawn is an image (`report/svg.py`)."""

_MOST_UNBROKEN = 30  # letters of a text in HTML that is not wrapped, such as the name of a layer

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


def html_block(*parts: str) -> str:
    """Return pieces of HTML as one block with the style of all tables."""
    return f"{STYLE}<div class=tcl>{''.join(parts)}</div>"


def html_lines(lines: Sequence[str], *, strong: bool = False) -> str:
    """Return texts as lines of a block, escaped; `strong` for a headline."""
    begin, end = ("<b>", "</b>") if strong else ("", "")
    return "".join(f"<div>{begin}{escape(line)}{end}</div>" for line in lines)


def html_cells(cells: Sequence[str], right: Sequence[int] = (), *, tag: str = "td") -> str:
    """Return the cells of one HTML row, escaped; those whose index is in `right` are aligned right."""
    return "".join(_html_cell(cell, tag, right=i in right) for i, cell in enumerate(cells))


def _html_cell(text: str, tag: str, *, right: bool) -> str:
    """A cell that is aligned by attributes too: GitHub keeps them, and aligns cells right without them."""
    if right:
        return f"<{tag} class=n align=right>{escape(text)}</{tag}>"
    short = " class=s" if 0 < len(text) <= _MOST_UNBROKEN else ""
    return f"<{tag}{short}><div align=left>{escape(text)}</div></{tag}>" if text else f"<{tag}></{tag}>"


def html_table(
    rows: Sequence[Sequence[str]],
    header: Sequence[str],
    right: Sequence[int] = (),
    *,
    pictures: Sequence[str] = (),
    faint: Sequence[int] = (),
) -> str:
    """Return rows as an HTML table, without its style: `html_block` puts it before it.

    Args:
        rows: Cells as text, a sequence for each row; they are escaped.
        header: The names of the columns.
        right: Indices of columns that are aligned right, such as numbers.
        pictures: HTML for each row, in a last column without a name.
        faint: Indices of rows that matter less.

    Example:
        >>> html_block(html_table([["stem", "11.9M"]], ["layer", "weights"], right=[1])).startswith("<style>")
        True
    """
    last = [f"<td>{picture}</td>" for picture in pictures] or [""] * len(rows)
    body = "".join(
        f"<tr{' class=f' if place in faint else ''}>{html_cells(row, right)}{picture}</tr>"
        for place, (row, picture) in enumerate(zip(rows, last, strict=True))
    )
    head = html_cells(header, right, tag="th") + ("<th></th>" if pictures else "")
    return f"<table class=tcl><thead align=left><tr>{head}</tr></thead><tbody align=left>{body}</tbody></table>"


def html_warnings(warnings: Sequence[str]) -> str:
    """Return warnings as the first lines of an HTML block."""
    return html_lines([f"⚠ {text}" for text in warnings], strong=True)
