"""Lines, notes and progress bars during a fit and a prediction. Nothing is said under verbosity 0."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from thermocline.errors import counted, escaped
from thermocline.report.output import Tolerant, is_open

LOG = logging.getLogger("thermocline")
"""Where predictions note what is worth knowing; the package adds no handler and sets no level."""


class Console:
    """Says lines, notes and progress, or nothing.

    Args:
        verbosity: 0 is silent.
    """

    def __init__(self, verbosity: int) -> None:
        self.verbosity = verbosity

    def say(self, line: str) -> None:
        """Print a line to stdout, clear of any progress bar; at once, so that a log has it."""
        if self.verbosity > 0:
            from tqdm.auto import tqdm

            out = Tolerant(sys.stdout)
            tqdm.write(escaped(line, lines=True), file=out)
            out.flush()

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
        """Write a line to the log, at the level DEBUG where all that it is about was noted before.

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
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    try:
        return sys.stderr.isatty() or "IPKernelApp" in getattr(shell, "config", ())
    except (AttributeError, ValueError):  # a stream that does not know; a closed one
        return False
