"""Entities of texts as spans of characters: checked, trimmed, and without overlaps."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import pandas as pd

from thermocline.data.row_names import plain
from thermocline.errors import LabelError, counted


class Span(NamedTuple):
    """An entity: characters `[start, end)` of a text, as Python counts them."""

    start: int
    end: int
    label: Any


@dataclass(frozen=True)
class Spans:
    """The entities of every row.

    Attributes:
        rows: For each row its entities by their place in the text; they do not overlap.
        notes: What a user should know of the reading.
        reason: How they are written, in words.
    """

    rows: tuple[tuple[Span, ...], ...]
    notes: tuple[str, ...] = ()
    reason: str = ""

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, positions: Iterable[int]) -> Spans:
        """Return the entities of some rows, without notes, which are of the whole."""
        return Spans(tuple(self.rows[int(row)] for row in positions), reason=self.reason)

    def classes(self) -> tuple[Any, ...]:
        """Return the labels, sorted."""
        found = {span.label for row in self.rows for span in row}
        try:
            return tuple(sorted(found))
        except TypeError:  # of texts and numbers
            return tuple(sorted(found, key=lambda label: (str(type(label)), str(label))))


def row_name(index: pd.Index[Any], row: int) -> str:
    """Return a row as messages name it: by position, and by index label where that differs."""
    label = plain(index[row])
    return f"row {row}" if type(label) is int and label == row else f"row {row} (index {label!r})"


def settled(
    found: Sequence[Sequence[Span]],
    texts: Sequence[str],
    where: str,
    index: pd.Index[Any],
    *,
    longest: bool,
    reason: str = "",
) -> Spans:
    """Return spans without white space at their ends, by place, and without overlaps.

    Args:
        found: For each row its spans, inside of its text.
        texts: The texts.
        where: The column and the data, for messages.
        index: The frame's index.
        longest: Keep the longest of spans that overlap; else they are an error.
        reason: How they are written, in words.

    Raises:
        LabelError: A span of nothing but white space; spans that overlap.
    """
    rows: list[tuple[Span, ...]] = []
    trimmed = dropped = 0
    faults: list[str] = []
    for row, (spans, text) in enumerate(zip(found, texts, strict=True)):
        own = []
        for span in spans:
            start, end = trimmed_to(text, span.start, span.end)
            if start == end:
                raise LabelError(
                    f"{where}, {row_name(index, row)}: the span [{span.start}, {span.end}) of {span.label!r} holds "
                    f"white space alone. Leave it out, or correct its characters."
                )
            trimmed += (start, end) != (span.start, span.end)
            own.append(Span(start, end, span.label))
        kept = _longest(own)
        if len(kept) < len(own):
            dropped += len(own) - len(kept)
            faults.append(_overlap(own, text, row_name(index, row)))
        rows.append(kept)
    if faults and not longest:
        raise LabelError(
            f"{where} has spans that overlap in {counted(len(faults), 'row')}: {'; '.join(faults[:3])}. "
            "One character has one label here. Correct them, or set data.overlapping_spans=longest to keep the longest."
        )
    notes = []
    if dropped:
        notes.append(f"{counted(dropped, 'span')} left out that overlap longer ones (data.overlapping_spans)")
    if trimmed:
        notes.append(f"{counted(trimmed, 'span')} had white space at the ends, which is no part of them")
    return Spans(tuple(rows), tuple(f"{where}: {note}" for note in notes), reason)


def trimmed_to(text: str, start: int, end: int) -> tuple[int, int]:
    """Return the characters of a span without white space at its ends; an empty span where there are no others."""
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return start, end


def _longest(spans: Sequence[Span]) -> tuple[Span, ...]:
    """Return spans by place; of those that overlap the longest, of equally long ones the first."""
    kept: list[Span] = []
    for span in sorted(spans, key=lambda one: (one.start - one.end, one.start)):
        if all(span.end <= other.start or other.end <= span.start for other in kept):
            kept.append(span)
    return tuple(sorted(kept, key=lambda one: one.start))


def _overlap(spans: Sequence[Span], text: str, row: str) -> str:
    """Return the first two spans that overlap, in words."""
    ordered = sorted(spans) if all(isinstance(one.label, str) for one in spans) else list(spans)
    for place, one in enumerate(ordered):
        for other in ordered[place + 1 :]:
            if one.start < other.end and other.start < one.end:
                return f"{row}: {_shown(one, text)} and {_shown(other, text)}"
    return row


def _shown(span: Span, text: str) -> str:
    piece = text[span.start : span.end]
    return f"[{span.start}, {span.end}) {piece[:30] + '…' if len(piece) > 30 else piece!r} as {span.label!r}"
