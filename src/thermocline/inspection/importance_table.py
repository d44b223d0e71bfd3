"""What columns are worth to a fitted model, as a table, HTML and a plot."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from thermocline.errors import counted
from thermocline.report.pictures import headings
from thermocline.report.plots import drawn
from thermocline.report.svg import BLUE, GREY, bar
from thermocline.report.tables import html_block, html_lines, html_table, table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ERRORS = 2.0
"""Standard errors within which a loss counts as none."""

UNCLEAR = "within 2 SE of 0"
_HEADER = ("column", "type", "score lost", "SE", "")
_NUMBERS = (2, 3)
_UNCLEAR_COLOUR = "#9aa7ad"


@dataclass(frozen=True)
class ImportanceRow:
    """One column, or a group of columns that are shuffled together.

    Attributes:
        column: Its name, or that of the group.
        kind: Its type: `text`, `image`, `categorical`, `numeric`; `mixed` for a group of several types.
        lost: What the score lost in each repeat.
        note: Such as `the same in all rows`; empty: nothing to say.
    """

    column: str
    kind: str
    lost: tuple[float, ...]
    note: str = ""

    @property
    def importance(self) -> float:
        """What the score loses, the mean over the repeats."""
        return float(np.mean(self.lost))

    @property
    def error(self) -> float:
        """The standard error of the mean over the repeats; NaN with one repeat."""
        return float(np.std(self.lost, ddof=1) / math.sqrt(len(self.lost))) if len(self.lost) > 1 else math.nan

    @property
    def clear(self) -> bool | None:
        """Whether the loss is more than two standard errors from 0; None with one repeat."""
        return None if math.isnan(self.error) else abs(self.importance) > ERRORS * self.error

    @property
    def remark(self) -> str:
        """What the last column of the table says."""
        return self.note or (UNCLEAR if self.clear is False else "")


@dataclass(frozen=True, repr=False)
class Importance:
    """What the score of a fitted model loses when a column is shuffled, the most important column first.

    It prints, shows in a notebook, and draws with `plot()`. Made by `Predictor.importance`. The standard errors are
    over the repeats, that is over permutations of the same rows; other rows would differ by more.

    Attributes:
        metric: The metric; a loss is positive where the score gets worse.
        score: The score of the rows as they are.
        n_rows: How many rows were used.
        repeats: How many permutations.
        rows: A row for each column or group.
        notes: What a reader should know.

    Example:
        >>> rows = (ImportanceRow("note", "text", (0.3, 0.4)), ImportanceRow("depot", "categorical", (0.01, -0.01)))
        >>> print(Importance("accuracy", 0.9, 200, 2, rows))
        accuracy 0.9 of 200 rows, and what is lost when a column is shuffled (mean of 2 permutations)
        column  type         score lost     SE
        note    text              0.350  0.050
        depot   categorical       0.000  0.010  within 2 SE of 0
    """

    metric: str
    score: float
    n_rows: int
    repeats: int
    rows: tuple[ImportanceRow, ...]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[ImportanceRow]:
        return iter(self.rows)

    def __getitem__(self, column: str) -> ImportanceRow:
        """Return the row of a column or group.

        Raises:
            KeyError: There is none.
        """
        for row in self.rows:
            if row.column == column:
                return row
        raise KeyError(column)

    def to_frame(self) -> pd.DataFrame:
        """Return a frame with the columns `column`, `type`, `importance`, `error` and `clear`, one row a column.

        `importance` is the score lost, in units of the metric; `error` its standard error over the repeats, NaN with
        one; `clear` says whether it is more than two of them from 0.

        Example:
            >>> made = Importance("rmse", 2.0, 9, 1, (ImportanceRow("x", "numeric", (0.5,)),))
            >>> made.to_frame()[["column", "importance"]].to_dict("list")
            {'column': ['x'], 'importance': [0.5]}
        """
        cells = [(row.column, row.kind, row.importance, row.error, row.clear) for row in self.rows]
        frame = pd.DataFrame(cells, columns=["column", "type", "importance", "error", "clear"])
        return frame.astype({"importance": float, "error": float, "clear": "boolean"})

    def _title(self) -> str:
        repeats = "one permutation" if self.repeats == 1 else f"mean of {self.repeats} permutations"
        return (
            f"{self.metric} {self.score:.4g} of {counted(self.n_rows, 'row')}, and what is lost when a column is "
            f"shuffled ({repeats})"
        )

    def _cells(self) -> list[list[str]]:
        size = max((abs(row.importance) for row in self.rows), default=0.0)
        return [
            [row.column, row.kind, _text(row.importance, size), _text(row.error, size), row.remark] for row in self.rows
        ]

    def __str__(self) -> str:
        lines = table(self._cells(), _HEADER, _NUMBERS)
        return "\n".join([*headings([self._title(), *self.notes]), lines])

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        most = max((abs(row.importance) for row in self.rows), default=0.0) or 1.0
        lines = html_lines([self._title(), *self.notes])
        bars = [bar(max(0.0, row.importance / most)) for row in self.rows]
        return html_block(lines, html_table(self._cells(), _HEADER, _NUMBERS, pictures=bars))

    def plot(self, ax: Axes | None = None, *, most: int = 20) -> Axes:
        """Draw the losses as bars with two standard errors on each side.

        Args:
            ax: Where to draw; a new figure by default.
            most: The most columns that are drawn, the most important ones.

        Returns:
            The axes.

        Example:
            >>> predictor.importance(test, repeats=2).plot().figure.savefig("importance.png")
        """
        rows = self.rows[:most][::-1]
        with drawn(ax, (7, 1.3 + 0.32 * len(rows))) as ax:
            colours = [BLUE if row.clear is not False else _UNCLEAR_COLOUR for row in rows]
            errors = [0.0 if math.isnan(row.error) else ERRORS * row.error for row in rows]
            losses = [row.importance for row in rows]
            ax.barh(range(len(rows)), losses, color=colours, xerr=errors, ecolor=GREY, capsize=3)
            ax.set_yticks(range(len(rows)), [row.column.replace("$", r"\$") for row in rows])
            ax.axvline(0, color=GREY, lw=1)
            left = len(self.rows) - len(rows)
            more = f"; {left} more columns not drawn" if left else ""
            ax.set_xlabel(f"{self.metric} lost when shuffled, ± 2 SE{more}")
            scored = f"{self.metric} {self.score:.4g} of {counted(self.n_rows, 'row')}"
            ax.set_title(scored, fontsize="medium", loc="left")
        return ax


def _text(value: float, size: float) -> str:
    """Return a number with as many decimals as the largest asks for: three digits of it."""
    if math.isnan(value):
        return "-"
    decimals = 4 if size == 0 else max(0, 2 - math.floor(math.log10(size)))
    return f"{value:.{min(decimals, 8)}f}"
