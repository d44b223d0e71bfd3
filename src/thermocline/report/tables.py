"""Tables as text that fits the screen, and as HTML in one style that is legible on light and dark."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from thermocline.errors import escaped
from thermocline.report.layout import LEAST, LEGIBLE, Cells, without
from thermocline.report.screen import folded, screen_width

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


def count(number: int) -> str:
    """Return a number of weights as `22.7M`, `590k`, `12`."""
    for size, unit in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if number >= size:
            return f"{number / size:.3g}{unit}"
    return str(number)


def table(
    rows: Sequence[Sequence[str]],
    header: Sequence[str],
    right: Sequence[int] = (),
    spare: Sequence[int] = (),
    *,
    legible: int = LEGIBLE,
) -> str:
    """Return rows as aligned text that fits the screen.

    Where it is too wide, headers and texts are folded; then spare columns are left out, one after the other, and a last
    line says which; at last the table is cut into blocks, each with the first column.

    Args:
        rows: Cells as text, a sequence for each row.
        header: The names of the columns.
        right: Indices of columns that are aligned right, such as numbers; their cells are not folded.
        spare: Indices of columns that may be left out, the first one first.
        legible: How narrow a column of texts may become before one is left out.

    Example:
        >>> print(table([["stem", "11.9M"], ["block", "5.32M"]], ["layer", "weights"], right=[1]))
        layer  weights
        stem     11.9M
        block    5.32M
    """
    cells = Cells([[escaped(cell) for cell in row] for row in rows], list(header), frozenset(right))
    width = screen_width()
    tries = [(count, legible) for count in range(len(spare) + 1)] + [(len(spare), LEAST)]
    for count, least in tries:
        text = cells.only(without(spare, count, len(header))).text(width, least)
        if text is not None:
            left_out = ", ".join(header[i] for i in spare[:count])
            return "\n".join([text, *folded(f"(no room for: {left_out})", width)]) if left_out else text
    return cells.blocks(width)


def ranges(numbers: Sequence[int]) -> str:
    """Return growing numbers in words: `1, 3–5`.

    Example:
        >>> ranges([1, 3, 4, 5])
        '1, 3–5'
    """
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}–{run[-1]}" for run in runs)


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
