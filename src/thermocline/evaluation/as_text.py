"""A report as text that fits the screen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from thermocline.errors import counted, escaped
from thermocline.evaluation.plain_values import are_numbers, column, number, shortened
from thermocline.report.screen import folded, screen_width
from thermocline.report.sections import Curve, Matrix, Section, Table
from thermocline.report.tables import table

if TYPE_CHECKING:
    from thermocline.evaluation.content import Content

NAME = 18
"""Letters of a class beside a matrix."""

SHORT_NAME = 13
"""Those beside a number."""

_GAP = 2


def report_text(report: Content) -> str:
    """Return a report as text."""
    parts = [headline(report)]
    if report.scores:
        parts.append(table(*score_cells(report)))
    if notes := explained(report):
        parts.append("\n".join(map(_wrapped, notes)))
    parts += [text for section in report.sections if (text := _section(section))]
    return "\n\n".join(parts)


def headline(report: Content) -> str:
    """Return the first line of a report."""
    rows = counted(report.rows, report.unit)
    return f"Report on {rows}: {report.problem_type} of {escaped(shortened(report.label, 200))!r}"


def score_cells(report: Content) -> tuple[list[list[str]], list[str], list[int]]:
    """Return the scores as cells, their header, and which columns are aligned right; columns without content go."""
    lines = []
    for one in report.scores:
        size = abs(one.value)
        ends = [number(end, size=size) for end in (one.low, one.high) if end is not None]
        better = "" if one.greater_is_better is None else "more" if one.greater_is_better else "less"
        lines.append([one.name, number(one.value), " to ".join(ends), number(one.baseline, size=size), better])
    header = ["metric", "score", "95 % interval", "baseline", "better"]
    kept = [place for place in range(len(header)) if place < 2 or any(line[place] for line in lines)]
    right = [new for new, place in enumerate(kept) if place in (1, 2, 3)]
    return [[line[place] for place in kept] for line in lines], [header[place] for place in kept], right


def explained(report: Content) -> list[str]:
    """Return what has to be said of the scores, and the notes."""
    lines = [f"{one.name}: {one.note}" for one in report.scores if one.note]
    if report.baseline:
        lines.append(f"baseline: {report.baseline}")
    if report.draws:
        lines.append(f"intervals: {counted(report.draws, 'draw')} of {report.unit}s with replacement")
    return [*lines, *report.notes]


def table_cells(given: Table) -> tuple[list[list[str]], list[str], list[int]]:
    """Return the rows that are shown as cells, their header, and which columns are aligned right."""
    columns = [[row[place] for row in given.rows[: given.most]] for place in range(len(given.header))]
    right = [place for place, values in enumerate(columns) if are_numbers(values)]
    cells = [list(row) for row in zip(*map(column, columns), strict=True)]
    return cells, [escaped(name) for name in given.header], right


def table_notes(given: Table) -> list[str]:
    """Return what stands below a table."""
    left = len(given.rows) - given.most
    more = [f"{counted(left, 'more row')}, in to_dict()"] if left > 0 else []
    return [*([given.note] if given.note else []), *more]


def as_table(section: Section) -> Table | None:
    """Return the table that stands for a section where there are no pictures; None: there is none."""
    if isinstance(section, Table):
        return section
    return section.table if isinstance(section, Curve) else None


def _section(section: Section) -> str:
    if isinstance(section, Matrix):
        text, notes = _matrix(section)
        return "\n".join([escaped(section.title), text, *_notes(notes)])
    shown = as_table(section)
    if shown is None or not shown.rows:
        return ""
    return "\n".join([escaped(section.title), table(*table_cells(shown)), *_notes(table_notes(shown))])


def _matrix(given: Matrix) -> tuple[str, list[str]]:
    """Return counts with the true classes as rows, and notes.

    Where that is too wide, the columns have numbers in place of names; where it still is, shares in place of counts.
    """
    names, notes = [escaped(shortened(name, NAME)) for name in given.names], [given.note] if given.note else []
    header, cells = names, _in_rows(column([value for row in given.values for value in row]), len(names))
    if not _fits(names, header, cells):
        header = [str(k + 1) for k in range(len(names))]
        names = [f"{k} {escaped(shortened(name, SHORT_NAME))}" for k, name in zip(header, given.names, strict=True)]
    if not _fits(names, header, cells):
        shares = [100 * value / (sum(row) or 1.0) for row in given.values for value in row]
        cells = _in_rows([f"{share:.0f}" for share in shares], len(names))
        notes.insert(0, "in % of the true class")
    lines = [[name, *row] for name, row in zip(names, cells, strict=True)]
    return table(lines, [_CORNER, *header], list(range(1, len(header) + 1))), notes


def _in_rows(cells: Sequence[str], count: int) -> list[Sequence[str]]:
    return [cells[k * count : (k + 1) * count] for k in range(count)]


def _fits(names: Sequence[str], header: Sequence[str], cells: Sequence[Sequence[str]]) -> bool:
    first = max(map(len, (*names, _CORNER)))
    return first + sum(_GAP + max(map(len, one)) for one in zip(header, *cells, strict=True)) <= screen_width()


_CORNER = "true \\ predicted"


def _notes(notes: Sequence[str]) -> list[str]:
    return [_wrapped(note) for note in notes]


def _wrapped(text: str) -> str:
    return "\n".join(folded(escaped(text), screen_width()))
