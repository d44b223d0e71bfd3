"""Where entities may begin and end: at white space, at borders of words, or at any token; learnt from the labels."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import numpy as np

from thermocline.errors import counted
from thermocline.problems.token_classification.spans import Spans

SPACE, WORD, TOKEN = "space", "word", "token"
MOST_INSIDE = 0.002  # of the borders, that may lie elsewhere
JOINER = "\u200d"


def chosen_units(texts: Sequence[str], spans: Spans) -> tuple[str, str]:
    """Return the largest units whose borders the borders of entities are, and why.

    Args:
        texts: The training texts.
        spans: Their entities.
    """
    borders = [(text, place) for text, row in zip(texts, spans.rows, strict=True) for one in row for place in one[:2]]
    for unit, said in ((SPACE, "white space"), (WORD, "a border of a word")):
        inside = sum(joined(text, place, unit) for text, place in borders)
        if inside <= MOST_INSIDE * len(borders):
            rest = f", but for {inside:,}" if inside else ""
            return unit, f"entities begin and end at {said}{rest}"
    return TOKEN, f"{counted(inside, 'border')} of {len(borders):,} of entities lie inside of words"


def joined(text: str, place: int, unit: str) -> bool:
    """Whether the characters before and at a place are of one unit, so that no entity begins or ends there."""
    if not 0 < place < len(text):
        return False
    before, here = text[place - 1], text[place]
    if _combines(here) or before == JOINER:
        return True
    if unit == SPACE:
        return not (before.isspace() or here.isspace())
    return unit == WORD and _of_word(before) and _of_word(here)


def continuing(text: str, offsets: np.ndarray, unit: str) -> np.ndarray:
    """Return which tokens go on with the unit of the token before, bool `(tokens,)`.

    Args:
        text: The text.
        offsets: Characters of each token, without white space at its ends, int `(tokens, 2)`.
        unit: `space`, `word` or `token`.
    """
    flags = np.zeros(len(offsets), dtype=bool)
    for token in range(1, len(offsets)):
        start, end = int(offsets[token, 0]), int(offsets[token - 1, 1])
        flags[token] = start < end or (start == end and joined(text, start, unit))
    return flags


def _combines(char: str) -> bool:
    return char == JOINER or unicodedata.category(char).startswith("M")


def _of_word(char: str) -> bool:
    return char.isalnum() or char == "_" or _combines(char)
