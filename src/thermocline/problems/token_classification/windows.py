"""Texts as tokens that know their characters, and long texts as windows that overlap."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from thermocline.errors import CheckpointError
from thermocline.problems.token_classification.spans import trimmed_to

AT_ONCE = 1_000  # texts that are given to a tokenizer


@dataclass(frozen=True, eq=False)
class Tokens:
    """The tokens of a text.

    Attributes:
        ids: int32 `(tokens,)`, no special tokens among them.
        offsets: Characters of each token, without white space at its ends, int32 `(tokens, 2)`; of a token of white
            space alone both are the same.
    """

    ids: np.ndarray
    offsets: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def real(self) -> np.ndarray:
        """Which tokens hold more than white space, bool `(tokens,)`."""
        return np.asarray(self.offsets[:, 0] < self.offsets[:, 1])


@dataclass(frozen=True)
class Window:
    """A part of a text that the model reads at once.

    Attributes:
        start: Its first token.
        end: The token behind its last one.
        first: The first token that it decides: those which are the farthest from its ends, of all windows.
        last: The token behind the last one of these.
    """

    start: int
    end: int
    first: int
    last: int


def check_fast(tokenizer: Any) -> None:
    """Check that a tokenizer knows the characters of its tokens.

    Raises:
        CheckpointError: It is a slow one.
    """
    if not getattr(tokenizer, "is_fast", False):
        raise CheckpointError(
            f"{type(tokenizer).__name__} is a slow tokenizer, which does not say which characters its tokens are. "
            "token_classification needs a fast one: choose a checkpoint that has a tokenizer.json."
        )


def tokenized(tokenizer: Any, texts: Sequence[str]) -> list[Tokens]:
    """Return the tokens of texts of any length."""
    found: list[Tokens] = []
    for begin in range(0, len(texts), AT_ONCE):
        some = list(texts[begin : begin + AT_ONCE])
        encoded = tokenizer(
            some,
            add_special_tokens=False,
            return_offsets_mapping=True,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
        )
        for text, ids, offsets in zip(some, encoded["input_ids"], encoded["offset_mapping"], strict=True):
            places = [_trimmed(text, start, end) for start, end in offsets]
            found.append(Tokens(np.array(ids, dtype=np.int32), np.array(places, dtype=np.int32).reshape(-1, 2)))
    return found


def _trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    if start < end and (text[start].isspace() or text[end - 1].isspace()):
        return trimmed_to(text, start, end)
    return start, end


def windows_of(count: int, room: int, stride: int) -> Iterable[Window]:
    """Return windows over tokens: as few as there may be, each with `stride` tokens of the one before.

    Args:
        count: Number of tokens.
        room: The most tokens of a window.
        stride: Tokens that two neighbours share at least, fewer than `room`.
    """
    if count <= room:
        return [Window(0, count, 0, count)]
    number = -(-(count - stride) // (room - stride))
    starts = np.linspace(0, count - room, number).round().astype(int).tolist()
    middles = [(left + room + right) // 2 for left, right in itertools.pairwise(starts)]
    borders = [0, *middles, count]
    return [Window(start, start + room, borders[k], borders[k + 1]) for k, start in enumerate(starts)]
