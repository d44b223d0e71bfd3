"""A report as HTML: a block for notebooks, and a page of its own, legible on light and dark."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from thermocline.errors import MissingDependencyError, escaped
from thermocline.evaluation.as_figure import is_drawn, picture
from thermocline.evaluation.as_text import as_table, explained, headline, score_cells, table_cells, table_notes
from thermocline.report.sections import Section
from thermocline.report.tables import html_block, html_table

if TYPE_CHECKING:
    from thermocline.evaluation.content import Content

_PAGE = (
    "<!doctype html><html lang=en><head><meta charset=utf-8>"
    '<meta name=viewport content="width=device-width, initial-scale=1"><title>{title}</title>'
    "<style>:root{{color-scheme:light dark}}body{{max-width:60rem;margin:2rem auto;padding:0 1rem;"
    "font:14px/1.5 system-ui,sans-serif;background:#fff;color:#1c1c1c}}"
    "@media (prefers-color-scheme:dark){{body{{background:#16181b;color:#e4e4e4}}}}img{{max-width:100%;height:auto}}"
    "</style></head><body>{body}</body></html>\n"
)


def report_html(report: Content) -> str:
    """Return a report as a block for a notebook."""
    parts = [f"<div class=w>{_text(headline(report))}</div>"]
    if report.scores:
        cells, header, right = score_cells(report)
        parts.append(html_table([[escaped(one) for one in row] for row in cells], header, right))
    parts += [f"<div class=f>{_text(note)}</div>" for note in explained(report)]
    parts += [_section(section) for section in report.sections]
    return html_block(*parts)


def report_page(report: Content) -> str:
    """Return a report as a page of its own."""
    return _PAGE.format(title=_text(headline(report)), body=report_html(report))


def _section(section: Section) -> str:
    heading = f"<div class=w style='margin-top:16px'>{_text(section.title)}</div>"
    shown, notes = as_table(section), [getattr(section, "note", "")]
    drawn = _drawn(section)
    if shown is None:
        return f"{heading}{drawn}{_notes(notes)}"
    cells, header, right = table_cells(shown)
    made = html_table([[escaped(one) for one in row] for row in cells], header, right)
    if drawn:  # the numbers behind a picture
        made = f"<details><summary class=f>numbers</summary>{made}</details>"
    return f"{heading}{drawn}{made}{_notes(table_notes(shown))}"


def _drawn(section: Section) -> str:
    """The picture of a section; without matplotlib, what to install for it."""
    if not is_drawn(section):
        return ""
    try:
        return picture(section)
    except MissingDependencyError as error:
        return _notes([str(error)])


def _notes(notes: list[str]) -> str:
    return "".join(f"<div class=f>{_text(note)}</div>" for note in notes if note)


def _text(text: str) -> str:
    return escape(escaped(text))
