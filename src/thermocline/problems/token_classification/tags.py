"""Tags of tokens: BIO in its two forms, BIOES, BILOU and plain classes, turned into entities of a text."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from thermocline.errors import DataError, LabelError
from thermocline.problems.token_classification.span_cells import parsed
from thermocline.problems.token_classification.spans import Span, row_name

OUTSIDE = "O"
BEGIN, INSIDE, LAST, SINGLE = ("B",), ("I", "M"), ("E", "L"), ("S", "U", "W")
PREFIXES = frozenset({*BEGIN, *INSIDE, *LAST, *SINGLE})
MOST_SHOWN = 80


def tokens_of(cell: Any, name: str) -> list[str]:
    """Return the tokens of a cell: a list of texts, the same as JSON, or a text whose tokens are parted by spaces.

    Raises:
        DataError: It holds something else.
    """
    found = parsed(cell)
    if isinstance(found, str):
        return found.split()
    if isinstance(found, list) and all(isinstance(one, str) for one in found):
        return found
    raise DataError(f"{name} holds {repr(cell)[:MOST_SHOWN]}, which is no list of tokens such as ['Ada', 'sleeps'].")


def joined(tokens: Sequence[str]) -> tuple[str, np.ndarray]:
    """Return tokens joined by spaces, and the characters of each, int64 `(tokens, 2)`."""
    lengths = np.array([len(one) for one in tokens], dtype=np.int64)
    ends = np.cumsum(lengths + 1) - 1
    return " ".join(tokens), np.stack([ends - lengths, ends], axis=1).reshape(-1, 2)


def tag_spans(
    tokens: Sequence[Sequence[str]], cells: Sequence[Any], where: str, index: pd.Index[Any]
) -> list[list[Span]]:
    """Return the entities that tags mark, in the characters of each row's joined tokens.

    An `I-` that begins an entity does so as in IOB1 (Ramshaw and Marcus 1995). Tags without prefixes mark an entity for
    each run of the same class.

    Args:
        tokens: The tokens of each row.
        cells: The tags of each row: a list, JSON, or a text with spaces.
        where: The column and the data, for messages.
        index: The frame's index.

    Raises:
        LabelError: Tags that are none, or of another number than the tokens.
    """
    rows = []
    read = [_tags(cell, f"{where}, {row_name(index, row)}") for row, cell in enumerate(cells)]
    prefixed = {_prefixed(tag) for tags in read for tag in tags if tag != OUTSIDE}
    for row, (own, tags) in enumerate(zip(tokens, read, strict=True)):
        name = f"{where}, {row_name(index, row)}"
        if len(own) != len(tags):
            raise LabelError(f"{name}: {len(tags)} tags for {len(own)} tokens. Each token has one tag.")
        if len(prefixed) > 1:
            odd = [tag for tag in tags if tag != OUTSIDE and not _prefixed(tag)]
            if odd:
                raise LabelError(f"{name}: the tag {odd[0]!r} is none of O, B-…, I-…, E-…, S-…, which others are.")
        rows.append(_entities(tags, joined(own)[1], plain=prefixed == {False}))
    return rows


def _tags(cell: Any, name: str) -> list[str]:
    found = parsed(cell)
    if isinstance(found, str):
        found = found.split()
    if isinstance(found, list) and all(isinstance(one, str) and one for one in found):
        return found
    if isinstance(found, list) and all(isinstance(one, int) for one in found):
        raise LabelError(
            f"{name} holds {json.dumps(found)[:MOST_SHOWN]}: numbers in the place of tags. Put the names of the tags, "
            "such as 'B-person' (of a datasets split: features[...].feature.int2str)."
        )
    raise LabelError(f"{name} holds {repr(cell)[:MOST_SHOWN]}, which is no list of tags such as ['B-person', 'O'].")


def _prefixed(tag: str) -> bool:
    return len(tag) > 2 and tag[1] in "-_" and tag[0] in PREFIXES


def _entities(tags: Sequence[str], offsets: np.ndarray, *, plain: bool) -> list[Span]:
    """Return the entities of one row."""
    spans: list[Span] = []
    open_: str | None = None  # the class of the entity that the next token may go on with
    for tag, (start, end) in zip(tags, offsets.tolist(), strict=True):
        if tag == OUTSIDE:
            open_ = None
            continue
        prefix, label = ("I", tag) if plain else (tag[0], tag[2:])
        if open_ == label and prefix in (*INSIDE, *LAST):
            spans[-1] = spans[-1]._replace(end=end)
        else:
            spans.append(Span(start, end, label))
        open_ = None if prefix in (*LAST, *SINGLE) else label
    return spans
