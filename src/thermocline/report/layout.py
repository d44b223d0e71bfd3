"""How wide the columns of a text table are, so that it fits the screen."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from thermocline.report.screen import columns_of, folded

GAP = 2
"""Blanks between two columns."""

LEGIBLE = 12
"""How narrow a column of texts may become where there is a choice."""

_JUDGED = 12  # rows with the longest texts, by which widths are chosen

LEAST = 4
"""And where there is none."""


@dataclass(frozen=True)
class Cells:
    """A table that is to be laid out.

    Attributes:
        rows: Its cells, a sequence for each row.
        header: The names of its columns.
        right: Indices of columns that are aligned right; their cells are not folded.
    """

    rows: Sequence[Sequence[str]]
    header: Sequence[str]
    right: frozenset[int] = frozenset()

    def only(self, columns: Sequence[int]) -> Cells:
        """Return the same with these columns alone."""
        rows = [[row[i] for i in columns] for row in self.rows]
        right = frozenset(place for place, i in enumerate(columns) if i in self.right)
        return Cells(rows, [self.header[i] for i in columns], right)

    def text(self, width: int, least: int = LEAST) -> str | None:
        """Return the table as text of at most this width, or None where not even folded texts fit.

        Args:
            width: Columns of text.
            least: How narrow a column of texts may become; shorter texts stay whole.
        """
        widths = self._widths(width, least)
        return None if widths is None else "\n".join(self._lines(widths))

    def blocks(self, width: int) -> str:
        """Return the table in blocks below each other, the first column in each, as text of at most this width."""
        texts: list[str] = []
        rest = list(range(1, len(self.header)))
        while rest or not texts:
            count = len(rest)
            while count > 1 and self.only([0, *rest[:count]]).text(width) is None:
                count -= 1
            block = self.only([0, *rest[:count]])
            texts.append(block.text(width) or Cells(block.rows, block.header).text(width) or "")
            rest = rest[count:]
        return "\n\n".join(texts)

    @property
    def _natural(self) -> list[int]:
        return [max(columns_of(line[i]) for line in (self.header, *self.rows)) for i in range(len(self.header))]

    def _widths(self, width: int, text: int) -> list[int] | None:
        """Return how wide each column is: as wide as its texts; where that is too wide, headers, then texts, fold."""
        widths, room = self._natural, width - GAP * (len(self.header) - 1)
        for least in (self._with_folded_header(), self._with_whole_words(), self._least(text)):
            self._shrink(widths, least, room)
            if sum(widths) <= room:
                return widths
        return None

    def _with_folded_header(self) -> list[int]:
        return [
            max([columns_of(row[i]) for row in self.rows] + [_longest_word(name)]) for i, name in enumerate(self.header)
        ]

    def _with_whole_words(self) -> list[int]:
        texts = [[name, *(row[i] for row in self.rows)] for i, name in enumerate(self.header)]
        words = [max(map(_longest_word, column)) for column in texts]
        return [one if i in self.right else words[i] for i, one in enumerate(self._with_folded_header())]

    def _least(self, text: int) -> list[int]:
        """Return how narrow each column may be where a text has at least so many columns."""
        least = self._with_folded_header()
        return [one if i in self.right else min(one, text) for i, one in enumerate(least)]

    def _shrink(self, widths: list[int], least: Sequence[int], room: int) -> None:
        """Make columns narrower, one after the other, until all fit or all are as narrow as they may be.

        It is that column each time by which the table becomes the least longer; of several the widest.
        """
        lengths = [[columns_of(cell) for cell in line] for line in (self.header, *self.rows)]
        lengths = sorted(lengths, key=max, reverse=True)[:_JUDGED]

        def longer(column: int) -> tuple[int, int]:
            after = [width - (i == column) for i, width in enumerate(widths)]
            height = sum(max(-(-one // max(w, 1)) for one, w in zip(line, after, strict=True)) for line in lengths)
            return height, -widths[column]

        while sum(widths) > room:
            wide = [i for i, width in enumerate(widths) if width > least[i]]
            if not wide:
                return
            chosen = min(wide, key=longer)
            widths[chosen] -= min(max(1, (sum(widths) - room) // 8), widths[chosen] - least[chosen])

    def _lines(self, widths: Sequence[int]) -> list[str]:
        out = []
        for line in (self.header, *self.rows):
            parts = [folded(cell, width) for cell, width in zip(line, widths, strict=True)]
            for place in range(max(map(len, parts), default=0)):
                pieces = [part[place] if place < len(part) else "" for part in parts]
                out.append((" " * GAP).join(self._padded(pieces, widths)).rstrip())
        return out

    def _padded(self, pieces: Sequence[str], widths: Sequence[int]) -> list[str]:
        blanks = [" " * (width - columns_of(piece)) for piece, width in zip(pieces, widths, strict=True)]
        return [
            blank + piece if i in self.right else piece + blank
            for i, (piece, blank) in enumerate(zip(pieces, blanks, strict=True))
        ]


def _longest_word(text: str) -> int:
    return max(map(columns_of, re.findall(r"\S+", text)), default=0)


def without(spare: Sequence[int], count: int, columns: int) -> list[int]:
    """Return the indices of the columns that stay where the first `count` of the spare ones are left out."""
    gone: Collection[int] = set(spare[:count])
    return [i for i in range(columns) if i not in gone]
