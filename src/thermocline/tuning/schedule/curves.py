"""Shapes of a rate over time: pure functions of a step, with no scheduler object to be saved or lost."""

from __future__ import annotations

import math


def length(span: float | int, steps: int) -> int:
    """Return a length in steps: an int is one, a float is a fraction of `steps`."""
    return span if isinstance(span, int) else round(span * steps)


def rising(step: int, steps: int) -> float:
    """Return the multiple of a rate that rises linearly over the first `steps` steps, then 1."""
    return (step + 1) / (steps + 1) if step < steps else 1.0


def decayed(position: float, power: float) -> float:
    """Return what falls from 1 to 0 as a power of what is left: 1 is a line (DeepLab's `poly` has 0.9)."""
    return math.pow(1.0 - position, power)


def cosine(position: float) -> float:
    """Return what falls from 1 to 0 as half a cosine wave."""
    return 0.5 * (1.0 + math.cos(math.pi * position))


def restarted(position: float, cycles: int) -> float:
    """Return what falls as half a cosine `cycles` times: SGDR (Loshchilov and Hutter 2017), all cycles alike."""
    return cosine((cycles * position) % 1.0)


def inverse_sqrt(step: int, timescale: int) -> float:
    """Return what falls with the square root of the step: 1 at step 0, a half at three times `timescale`.

    After a warm-up of `timescale` steps this is the schedule of Vaswani et al. 2017.
    """
    return math.sqrt(timescale / (step + timescale))


def cooled(position: float, shape: str) -> float:
    """Return what falls from 1 to 0 in the last part of warmup-stable-decay (Hu et al. 2024).

    Args:
        position: From 0 to below 1, within that part.
        shape: `1-sqrt`, the best of those that Hägele et al. 2024 compare, `linear` or `cosine`.
    """
    if shape == "cosine":
        return cosine(position)
    return 1.0 - (math.sqrt(position) if shape == "1-sqrt" else position)


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
