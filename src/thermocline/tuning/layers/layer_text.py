"""Layers as text in error messages: their labels, runs folded, and the tree of their parameters."""

from __future__ import annotations

from collections.abc import Sequence

from thermocline.tuning.layers.folding import folded_runs, role_of
from thermocline.tuning.layers.layer import Layer


def folded_layers(layers: Sequence[Layer]) -> list[tuple[str, list[Layer]]]:
    """Return runs of like layers, each with its folded name."""
    return folded_runs(layers, lambda layer: (layer.tower, role_of(layer), layer.pretrained, layer.built_frozen))


def folded_labels(layers: Sequence[Layer], *, limit: int = 30) -> str:
    """Return layer labels on one line each, runs folded."""
    lines = [f"  {run[0].tower}/{name}  ({role_of(run[0])})" for name, run in folded_layers(layers)]
    more = [f"  … and {len(lines) - limit} more"] if len(lines) > limit else []
    return "\n".join(lines[:limit] + more)


def parameter_tree(layers: Sequence[Layer], *, limit: int = 40, level: int = 4) -> str:
    """Return modules with their sizes as an indented tree, cut after `limit` lines and `level` levels."""
    sizes: dict[str, int] = {}
    for layer in layers:
        for name in layer.parameters:
            parts = name.split(".")[:-1] or [name]
            for end in range(1, min(len(parts), level) + 1):
                sizes[".".join(parts[:end])] = sizes.get(".".join(parts[:end]), 0) + 1
    lines = [
        f"  {'  ' * name.count('.')}{name.rpartition('.')[2]}  ({number} parameter{'s' * (number != 1)})"
        for name, number in sizes.items()
    ]
    more = [f"  … and {len(lines) - limit} more"] if len(lines) > limit else []
    return "\n".join(lines[:limit] + more)
