"""Lines, notes and progress bars during a fit and a prediction. Nothing is said under verbosity 0.

Lines and notes are records of the logger `thermocline` of Python's `logging`, at the level INFO. Where the caller has
set logging up for them, they go there and nowhere else. Otherwise a handler of the package's own prints lines to
stdout; it is attached to no logger, so that nothing of the caller's logging is changed, and no line comes twice.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from thermocline.errors import counted, escaped
from thermocline.report.headed import Headed
from thermocline.report.output import Tolerant, is_open
from thermocline.report.screen import in_notebook, painted, paragraph, shows_colours

LOG = logging.getLogger("thermocline")
"""Where lines and notes go; the package adds no handler and sets no level."""


class Printing(logging.Handler):
    """Prints records to stdout, clear of any progress bar; at once, so that a log has them."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one."""
        from tqdm.auto import tqdm

        out = Tolerant(sys.stdout)
        coloured = getattr(record, COLOURED, "")
        plain = not coloured or not shows_colours(sys.stdout)
        tqdm.write("\n".join(map(paragraph, self.format(record).split("\n"))) if plain else coloured, file=out)
        out.flush()


PRINTING = Printing()
COLOURED = "thermocline_coloured"
"""The attribute of a record that holds its text with the codes of a terminal; only `Printing` reads it."""


def tell(line: str, coloured: str = "") -> None:
    """Hand a line at the level INFO to the handlers that the caller has for it, or else print it.

    Args:
        line: The line, without codes of a terminal.
        coloured: The same with them, for stdout where that shows colours.

    The caller has handlers for it where the level of the logger `thermocline`, its own or that of the loggers above it,
    lets INFO through and there are handlers; and where the logger itself has handlers and no level. A level of its own
    above INFO, and `logging.disable`, silence it.
    """
    level = logging.INFO
    if LOG.manager.disable >= level or LOG.level > level:
        return
    if LOG.isEnabledFor(level) and LOG.hasHandlers():
        LOG.log(level, "%s", line, stacklevel=3)
        return
    record = LOG.makeRecord(LOG.name, level, __file__, 0, "%s", (line,), None, extra={COLOURED: coloured})
    kept = LOG.filter(record)
    if kept:
        record = kept if isinstance(kept, logging.LogRecord) else record  # since Python 3.12 a filter may replace it
        for handler in LOG.handlers or [PRINTING]:
            if level >= handler.level:
                handler.handle(record)


class Console:
    """Says lines, notes and progress, or nothing.

    Args:
        verbosity: 0 is silent; 1 says what is needed to follow a fit; 2 all that there is to say.
    """

    def __init__(self, verbosity: int) -> None:
        self.verbosity = verbosity

    def say(self, line: str, style: str = "") -> None:
        """Say a line; see `tell`. On a terminal it has a style of `rich`, such as `green`."""
        if self.verbosity > 0:
            plain = escaped(line, lines=True)
            tell(plain, painted(plain, style) if style else "")

    def detail(self, line: str) -> None:
        """Say a line where all is to be said."""
        if self.verbosity > 1:
            tell(escaped(line, lines=True))

    def headed(self, found: Headed) -> None:
        """Say sections under headings, which are bold where stdout shows that."""
        if self.verbosity > 0:
            tell(str(found), found.in_colours())

    def progress(self, items: Iterable[Any], total: int, title: str) -> Iterable[Any]:
        """Wrap an iterable in a progress bar on stderr, where someone watches: not in a file, a pipe or a log."""
        from tqdm.auto import tqdm

        shown = self.verbosity > 0 and is_open(sys.stdout) and is_open(sys.stderr) and _is_watched()
        if not shown:  # a bar that is disabled would start a thread all the same
            return items
        # tqdm flushes stdout, too
        bar: Iterable[Any] = tqdm(items, total=total, desc=title, leave=False, file=Tolerant(sys.stderr))
        return bar

    def missing(self, counts: Mapping[str, int], rows: int, told: set[str]) -> None:
        """Note which columns have missing values; they are ordinary, but worth knowing, once a column.

        Args:
            counts: Missing values by column.
            rows: How many rows there are.
            told: As in `note`.
        """
        parts = {name: f"{escaped(name)} {count}" for name, count in counts.items() if count}
        if parts:
            self.note(f"missing values in {counted(rows, 'row')}: {', '.join(parts.values())}", set(parts), told)

    def note(self, line: str, subjects: set[str], told: set[str]) -> None:
        """Write a line to the log, at the level DEBUG where all that it is about was noted before; it is not printed.

        Args:
            line: The note.
            subjects: What it is about.
            told: What was noted before; what this line is about is added.
        """
        if self.verbosity > 0:
            LOG.log(logging.DEBUG if subjects <= told else logging.INFO, "%s", line)
            told |= subjects


def _is_watched() -> bool:
    """Whether stderr is a terminal or a notebook's output."""
    try:
        return sys.stderr.isatty() or in_notebook()
    except (AttributeError, ValueError):  # a stream that does not know; a closed one
        return False
