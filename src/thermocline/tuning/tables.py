"""Tables as aligned text, and the parts that HTML tables share."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from thermocline.errors import escaped

STYLE = (
    "<style>.tcl{border-collapse:collapse;font:13px/1.4 system-ui,sans-serif;color:inherit}"
    "div.tcl{margin:4px 0 14px}"
    ".tcl th,.tcl td{padding:2px 12px 2px 0;text-align:left;border-bottom:1px solid #8884;background:none}"
    ".tcl .n{text-align:right;font-variant-numeric:tabular-nums}.tcl .w{font-weight:600}.tcl .f{opacity:.55}"
    ".tcl .bar{display:inline-block;height:.8em;background:#2a8fbd;vertical-align:baseline}</style>"
)


def count(number: int) -> str:
    """Return a number of weights as `22.7M`, `590k`, `12`."""
    for size, unit in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if number >= size:
            return f"{number / size:.3g}{unit}"
    return str(number)


def table(rows: Sequence[Sequence[str]], header: Sequence[str], right: Sequence[int] = ()) -> str:
    """Return rows as aligned text; columns whose index is in `right` are aligned right."""
    lines = [list(header), *[[escaped(cell) for cell in row] for row in rows]]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    return "\n".join(
        "  ".join(
            c.rjust(w) if i in right else c.ljust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def html_cells(cells: Sequence[str], right: Sequence[int] = (), *, tag: str = "td") -> str:
    """Return the cells of one HTML row, escaped; those whose index is in `right` are aligned right."""
    return "".join(f"<{tag}{' class=n' if i in right else ''}>{escape(cell)}</{tag}>" for i, cell in enumerate(cells))


def html_warnings(warnings: Sequence[str]) -> str:
    """Return warnings as the first lines of an HTML block."""
    return "".join(f"<div class=w>⚠ {escape(text)}</div>" for text in warnings)
