"""Layers by their place in a tower: the first n, all but the last n, and slices."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from thermocline.errors import SelectorError, counted
from thermocline.tuning.layers.layer import BACKBONE_ROLES, Layer

_SLICE = re.compile(r"(-?\d{1,9})?:(-?\d{1,9})?(?::(\d{1,9}))?")


def is_slice(text: str) -> bool:
    """Whether a selector is a slice such as `0:3`, `-2:`, `::2` or `text/0:3`."""
    return _SLICE.fullmatch(text.rpartition("/")[2]) is not None


def counted_layers(layers: Sequence[Layer], pool: Sequence[Layer], number: int) -> set[str]:
    """Return the labels of the first layers of each tower, or where the number is negative of all but the last.

    Args:
        layers: All layers, for the adapters of those that are chosen.
        pool: The layers that are counted: those of them that are stem, block or neck.
        number: How many.

    Raises:
        SelectorError: No tower has so many.
    """
    lengths = {tower: len(own) for tower, own in _towers(pool).items()}
    longest = max(lengths.values(), default=0)
    if number > longest or (number < 0 and -number >= longest):
        which = "the first" if number > 0 else "all but the last"
        raise SelectorError(
            f"The selector {number} asks for {which} {counted(abs(number), 'layer')}: "
            f"{_have(lengths)}. Give a number from {1 - longest} to {longest}."
        )
    return _chosen(layers, pool, lambda own: own[:number] if number >= 0 else own[: max(len(own) + number, 0)])


def sliced_layers(layers: Sequence[Layer], pool: Sequence[Layer], text: str) -> set[str]:
    """Return the labels of a slice of each tower, as Python reads it; of a shorter tower what it has of it.

    Args:
        layers: As of `counted_layers`.
        pool: Likewise.
        text: `start:stop` or `start:stop:step`, each of which may be left out.

    Raises:
        SelectorError: It reaches beyond the longest tower, or is of no layer.
    """
    match = _SLICE.fullmatch(text)
    assert match is not None
    start, stop, step = (None if number is None else int(number) for number in match.groups())
    lengths = {tower: len(own) for tower, own in _towers(pool).items()}
    longest = max(lengths.values(), default=0)
    if any(number is not None and abs(number) > longest for number in (start, stop)):
        raise SelectorError(
            f"The slice {text!r} reaches further than the layers: {_have(lengths)}. Give positions from {-longest} "
            f"to {longest}."
        )
    chosen = set() if step == 0 else _chosen(layers, pool, lambda own: own[start:stop:step])
    if not chosen:
        raise SelectorError(
            f"The slice {text!r} is of no layer: {_have(lengths)}. A slice is read as in Python: '0:3' are the first "
            "three, '-2:' the last two."
        )
    return chosen


def _towers(pool: Sequence[Layer]) -> dict[str, list[Layer]]:
    """The layers that have positions, by tower."""
    towers: dict[str, list[Layer]] = {}
    for layer in pool:
        if layer.role in BACKBONE_ROLES:
            towers.setdefault(layer.tower, []).append(layer)
    return towers


def _chosen(layers: Sequence[Layer], pool: Sequence[Layer], part: Callable[[list[Layer]], Sequence[Layer]]) -> set[str]:
    """What a part of each tower holds, and the adapters of it: under PEFT only these could train."""
    chosen = {layer.label for own in _towers(pool).values() for layer in part(own)}
    return chosen | {
        one.label for one in layers if one.role == "adapter" and one.label.removesuffix(".adapter") in chosen
    }


def _have(lengths: dict[str, int]) -> str:
    have = ", ".join(f"{tower} has {length}" for tower, length in lengths.items()) or "there are none"
    return f"{have} (stem, blocks and necks)"
