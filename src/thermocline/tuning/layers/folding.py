"""Runs of layers that differ in one number, shown as one line: `encoder.layer.[0-11]`."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Protocol, TypeVar


class NamedLayer(Protocol):
    """A layer, or a plan's entry for one."""

    @property
    def name(self) -> str:
        """The layer's name within its tower."""

    @property
    def tower(self) -> str:
        """The name of its tower."""

    @property
    def role(self) -> str:
        """Its role in the tower."""

    @property
    def part(self) -> str:
        """The part of an object detector; empty elsewhere."""


Named = TypeVar("Named", bound=NamedLayer)


def role_of(layer: NamedLayer) -> str:
    """Return the role as tables show it: with the part of an object detector where that says more."""
    part = layer.part
    return layer.role if part in ("", layer.role) else part if layer.role == "block" else f"{part} {layer.role}"


def folded_runs(layers: Sequence[Named], kind: Callable[[Named], object]) -> list[tuple[str, list[Named]]]:
    """Return runs of neighbours of one kind, each with its folded name; a run ends where names do not fold."""
    out: list[tuple[str, list[Named]]] = []
    layers = _adapters_after_hosts(layers)
    start = 0
    while start < len(layers):
        stop = start
        while stop < len(layers) and kind(layers[stop]) == kind(layers[start]):
            stop += 1
        names = [layer.name for layer in layers[start:stop]]
        for group in folds(names):
            name = fold_name([names[i] for i in group]) or names[group[0]]
            out.append((name, [layers[start + i] for i in group]))
        start = stop
    return out


def _adapters_after_hosts(layers: Sequence[Named]) -> list[Named]:
    """The layers with a tower's adapters after all their hosts: then both fold."""
    towers = list(dict.fromkeys(layer.tower for layer in layers))
    late = {"adapter": 1, "head": 2}
    if not any(layer.role == "adapter" for layer in layers):
        return list(layers)
    return sorted(layers, key=lambda layer: (towers.index(layer.tower), late.get(layer.role, 0)))


def folds(names: list[str]) -> list[list[int]]:
    """Group consecutive names that differ in one running number: indices per group.

    `["a.0", "a.1", "b"]` gives `[[0, 1], [2]]`.
    """
    groups: list[list[int]] = []
    for index, name in enumerate(names):
        if groups:
            trial = [names[i] for i in groups[-1]] + [name]
            if fold_name(trial) is not None:
                groups[-1].append(index)
                continue
        groups.append([index])
    return groups


def fold_name(names: list[str]) -> str | None:
    """Return `a.[0-3].b` for `a.0.b … a.3.b`, the name itself for one, None where they are no such run."""
    if len(names) == 1:
        return names[0]
    parts = [re.split(r"(\d+)", name) for name in names]
    if len({len(part) for part in parts}) > 1:
        return None
    differing = [i for i in range(len(parts[0])) if len({part[i] for part in parts}) > 1]
    # only the last number may differ: `stages.[0-1].blocks.0` would hide where one stage ends
    if len(differing) != 1 or differing[0] != len(parts[0]) - 2:
        return None
    numbers = [int(part[differing[0]]) for part in parts]
    if any(b - a != 1 for a, b in pairwise(numbers)):
        return None
    template = list(parts[0])
    template[differing[0]] = f"[{numbers[0]}-{numbers[-1]}]"
    return "".join(template)
