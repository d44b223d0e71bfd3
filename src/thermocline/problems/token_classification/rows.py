"""Windows of texts, with the tag of each token."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from thermocline.inputs.text.rows import TextRows
from thermocline.problems.token_classification.spans import Span, Spans
from thermocline.problems.token_classification.windows import Tokens, Window

IGNORED = -100
"""The tag of what has no part in the loss: special tokens, white space, and what another window decides."""


@dataclass(frozen=True)
class TokenRows(TextRows):
    """Windows of texts: each is an item of a batch, and a row of a frame has one or several, one after the other.

    Attributes:
        owner: The frame's row of each window, int64 `(windows,)`, sorted.
        windows: What each is of its row.
        tokens: The tokens of each of the frame's rows.
        lead: Special tokens before those of a text.
        tags: Of each window the tag of each of its ids, int64, `IGNORED` where it has none; None without labels.
    """

    owner: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    windows: tuple[Window, ...] = ()
    tokens: tuple[Tokens, ...] = ()
    lead: int = 0
    tags: tuple[np.ndarray, ...] | None = None

    def batch(self, rows: np.ndarray, epoch: int | None = None) -> dict[str, np.ndarray]:
        """Return what `TextRows` does, and `tags` where they are known, int64 `(len(rows), longest)`."""
        arrays = super().batch(rows, epoch)
        if self.tags is not None:
            arrays["tags"] = np.full(arrays["input_ids"].shape, IGNORED, dtype=np.int64)
            for place, row in enumerate(rows):
                own = self.tags[int(row)]
                arrays["tags"][place, : len(own)] = own
        return arrays

    def unlabelled(self) -> TokenRows:
        """Return the same windows without tags."""
        return replace(self, tags=None)

    def with_tags(self, spans: Spans, classes: Sequence[Any]) -> TokenRows:
        """Return the same windows with the tags of entities; those of other classes have no part in the loss."""
        codes = {label: place for place, label in enumerate(classes)}
        whole = [tags_of(one, row, codes) for one, row in zip(self.tokens, spans.rows, strict=True)]
        tags = []
        for ids, owner, window in zip(self.ids, self.owner, self.windows, strict=True):
            own = np.full(len(ids), IGNORED, dtype=np.int64)
            begin = self.lead + window.first - window.start
            own[begin : begin + window.last - window.first] = whole[owner][window.first : window.last]
            tags.append(own)
        return replace(self, tags=tuple(tags))

    def identity(self, *, files: bool) -> Iterator[bytes]:
        """Yield what `TextRows` does, and the tags."""
        yield from super().identity(files=files)
        yield self.owner.tobytes()
        if self.tags is not None:
            yield from (one.tobytes() for one in self.tags)


def tags_of(tokens: Tokens, spans: Sequence[Span], codes: Mapping[Any, int]) -> np.ndarray:
    """Return the tag of each token, int64 `(tokens,)`: every token that an entity has a part of is tagged.

    Where one token has parts of two entities, it is the first one's.

    Args:
        tokens: The tokens of a text.
        spans: Its entities, by place.
        codes: The number of each class.
    """
    tags = np.zeros(len(tokens), dtype=np.int64)
    taken = 0
    for span in spans:
        first, last = covered(tokens, span)
        first, taken = max(first, taken), max(last, taken)
        if first < last:
            code = codes.get(span.label)
            tags[first:last] = IGNORED if code is None else 2 + 2 * code
            tags[first] = IGNORED if code is None else 1 + 2 * code
    tags[~tokens.real] = IGNORED
    return tags


def covered(tokens: Tokens, span: Span) -> tuple[int, int]:
    """Return the first token that has characters of a span, and the token behind the last one; equal where none has."""
    first = int(np.searchsorted(tokens.offsets[:, 1], span.start, side="right"))
    last = int(np.searchsorted(tokens.offsets[:, 0], span.end, side="left"))
    real = tokens.real
    while first < last and not real[first]:
        first += 1
    while last > first and not real[last - 1]:
        last -= 1
    return first, last


def off_borders(tokens: Sequence[Tokens], spans: Spans) -> int:
    """Return how many entities begin or end inside of a token."""
    count = 0
    for one, row in zip(tokens, spans.rows, strict=True):
        for span in row:
            first, last = covered(one, span)
            exact = first < last and (one.offsets[first, 0], one.offsets[last - 1, 1]) == (span.start, span.end)
            count += not exact
    return count
