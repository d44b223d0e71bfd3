"""The best valid tags of tokens: Viterbi over the transitions that tags and units allow.

`I-x` follows `B-x` or `I-x` alone, and a token that goes on with a unit (a word) goes on with what its first token is.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

NEVER = -1e30


def transitions(width: int) -> tuple[np.ndarray, np.ndarray]:
    """Return what may follow what, at the beginning of a unit and inside of one, float32 `(before, after)`: 0 or NEVER.

    Args:
        width: Number of tags: `O`, and `B-` and `I-` of each class.
    """
    begins = np.zeros((width, width), dtype=np.float32)
    inside = np.full((width, width), NEVER, dtype=np.float32)
    begins[:, 2::2] = NEVER
    inside[0, 0] = 0.0
    for begin in range(1, width, 2):
        begins[begin, begin + 1] = begins[begin + 1, begin + 1] = 0.0
        inside[begin, begin + 1] = inside[begin + 1, begin + 1] = 0.0
    return begins, inside


def best_tags(scores: Sequence[np.ndarray], continuing: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return the tags of the highest sum of log-probabilities that are valid (Viterbi 1967), for several texts at once.

    Args:
        scores: Log-probabilities of each text, float32 `(tokens, tags)`.
        continuing: Which of its tokens go on with the unit of the one before, bool `(tokens,)`.

    Returns:
        For each text int64 `(tokens,)`.
    """
    lengths = np.array([len(one) for one in scores], dtype=np.int64)
    longest, width = int(lengths.max(initial=0)), scores[0].shape[1] if len(scores) else 1
    if not longest:
        return [np.zeros(0, dtype=np.int64) for _ in scores]
    padded = np.zeros((len(scores), longest, width), dtype=np.float32)
    inside = np.zeros((len(scores), longest), dtype=np.int64)
    for row, (own, flags) in enumerate(zip(scores, continuing, strict=True)):
        padded[row, : len(own)] = own
        inside[row, : len(own)] = flags
    allowed = np.stack(transitions(width))
    best = padded[:, 0].copy()
    best[:, 2::2] = NEVER
    back = np.zeros((len(scores), longest, width), dtype=np.int64)
    every = np.arange(width)
    for place in range(1, longest):
        paths = best[:, :, None] + allowed[inside[:, place]]
        back[:, place] = paths.argmax(axis=1)
        now = paths.max(axis=1) + padded[:, place]
        open_ = place < lengths
        best[open_] = now[open_]
        back[~open_, place] = every  # behind the end a path stays where it is
    tags = np.zeros((len(scores), longest), dtype=np.int64)
    tags[:, -1] = best.argmax(axis=1)
    rows = np.arange(len(scores))
    for place in range(longest - 1, 0, -1):
        tags[:, place - 1] = back[rows, place, tags[:, place]]
    return [tags[row, :length] for row, length in enumerate(lengths)]


def entity_runs(tags: np.ndarray) -> list[tuple[int, int, int]]:
    """Return entities as first token, token behind the last, number of the class."""
    runs: list[tuple[int, int, int]] = []
    for token, tag in enumerate(tags.tolist()):
        if tag and tag % 2:
            runs.append((token, token + 1, tag // 2))
        elif tag:
            first, _, code = runs[-1]
            runs[-1] = (first, token + 1, code)
    return runs
