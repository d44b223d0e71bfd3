"""Shapes of a rate over time: pure functions of a step, with no scheduler object to be saved or lost."""

from __future__ import annotations

import math


def length(span: float | int, steps: int) -> int:
    """Return a length in steps: an int is one, a float is a fraction of `steps`."""
    return span if isinstance(span, int) else round(span * steps)


def rising(step: int, steps: int) -> float:
    """Return the multiple of a rate that rises linearly over the first `steps` steps, then 1."""
    return (step + 1) / (steps + 1) if step < steps else 1.0


def warmed(kind: str, step: int, steps: int, warmup: int, final: float) -> float:
    """Return `constant`, `linear` or `cosine` after a linear warm-up.

    Args:
        kind: One of these.
        step: 0-based, below `steps`.
        steps: The length, warm-up included.
        warmup: Steps that warm up.
        final: What it falls to, one step after the last.
    """
    if step < warmup:
        return rising(step, warmup)
    if kind == "constant":
        return 1.0
    progress = (step - warmup) / max(steps - warmup, 1)
    shape = 1.0 - progress if kind == "linear" else 0.5 * (1.0 + math.cos(math.pi * progress))
    return final + (1.0 - final) * shape


def cycle(position: float, turn: float, start: float, middle: float, end: float) -> float:
    """Return what one cycle takes at a position: cosines from `start` to `middle`, and on to `end`.

    This is fastai's `combined_cos` (Howard and Gugger 2020), which samples step s of n at s / n. PyTorch's `OneCycleLR`
    is the same curve sampled up to one step later.

    Args:
        position: From 0 to below 1.
        turn: The position of `middle`.
        start: The value at 0.
        middle: The value at `turn`.
        end: The value at 1.
    """
    if position < turn:
        a, b, local = start, middle, position / turn
    else:
        a, b, local = middle, end, (position - turn) / (1.0 - turn)
    return a + (b - a) * 0.5 * (1.0 - math.cos(math.pi * local))
