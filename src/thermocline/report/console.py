"""Lines and progress bars during a fit and a prediction. Nothing is printed under verbosity 0."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import Any

from thermocline.errors import counted
from thermocline.report.output import Tolerant, is_open


class Console:
    """Prints lines and progress bars, or nothing.

    Args:
        verbosity: 0 is silent.
    """

    def __init__(self, verbosity: int) -> None:
        self.verbosity = verbosity

    def say(self, line: str) -> None:
        """Print a line, clear of any progress bar."""
        if self.verbosity > 0:
            from tqdm.auto import tqdm

            tqdm.write(line, file=Tolerant(sys.stdout))

    def progress(self, items: Iterable[Any], total: int, title: str) -> Iterable[Any]:
        """Wrap an iterable in a progress bar."""
        from tqdm.auto import tqdm

        shown = self.verbosity > 0 and is_open(sys.stdout) and is_open(sys.stderr)  # tqdm flushes both
        file = Tolerant(sys.stderr) if shown else None
        bar: Iterable[Any] = tqdm(items, total=total, desc=title, disable=not shown, leave=False, file=file)
        return bar

    def missing(self, counts: Mapping[str, int], rows: int) -> None:
        """Say which columns have missing values; they are ordinary, but worth knowing."""
        parts = [f"{name} {count}" for name, count in counts.items() if count]
        if parts:
            self.say(f"missing values in {counted(rows, 'row')}: {', '.join(parts)}")
