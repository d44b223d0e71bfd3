"""Tables as text that fits the screen, and as HTML in one style that is legible on light and dark."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from thermocline.errors import escaped
from thermocline.report.layout import LEAST, LEGIBLE, Cells, without
from thermocline.report.screen import screen_width

STYLE = (
    "<style>.tcl{border-collapse:collapse;font:13px/1.4 system-ui,sans-serif;color:inherit}"
    "div.tcl{margin:4px 0 14px}"
    ".tcl th,.tcl td{padding:2px 12px 2px 0;text-align:left!important;border-bottom:1px solid #8884;background:none}"
    ".tcl .n{text-align:right!important;font-variant-numeric:tabular-nums}.tcl .w{font-weight:600}.tcl .f{opacity:.55}"
    ".tcl .bar{display:inline-block;height:.8em;background:#2a8fbd;vertical-align:baseline}</style>"
)


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
            return f"{text}\n(no room for: {left_out})" if left_out else text
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
