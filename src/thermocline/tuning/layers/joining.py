"""Partitions of submodules joined into one of the whole model, and the partition of a module that is one layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from torch import nn

from thermocline.tuning.layers.finished_layers import prefixed_layer
from thermocline.tuning.layers.layer import Layer
from thermocline.tuning.layers.named_model import named_parameters
from thermocline.tuning.layers.partition import ORDERS, Partition


def one_layer(model: nn.Module, place: Layer) -> Partition:
    """Return a partition of one layer that holds all parameters and modules.

    Args:
        model: The module.
        place: The layer, still without parameters and modules.
    """
    parameters, aliases = named_parameters(model)
    modules = tuple(path for path, _ in model.named_modules())  # "" is the module itself, named on joining
    count = sum(p.numel() for p in parameters.values())
    return Partition((replace(place, parameters=tuple(parameters), modules=modules, n_parameters=count),), aliases)


def joined(maps: Mapping[str, Partition]) -> Partition:
    """Return the partition of a model, as `LayerMap.join` describes."""
    layers: list[Layer] = []
    aliases: dict[str, str] = {}
    depths: dict[str, int] = {}
    for path, part in maps.items():
        prefix = f"{path}." if path else ""
        base = dict(depths)
        for own in part.layers:
            layer = replace(prefixed_layer(own, prefix), depth=own.depth + base.get(own.tower, 0))
            depths[layer.tower] = max(depths.get(layer.tower, 0), layer.depth + 1)
            layers.append(layer)
        aliases |= {prefix + alias: prefix + name for alias, name in part.aliases.items()}
    orders = {part.order for part in maps.values()}
    return Partition(
        tuple(layers),
        aliases,
        tuple(_placed(path, text) for path, part in maps.items() for text in part.warnings),
        confident=all(part.confident for part in maps.values()),
        order=next((order for order in ORDERS if order in orders), ORDERS[-1]),
        notes=tuple(_placed(path, text) for path, part in maps.items() for text in part.notes),
    )


def part_of(partition: Partition, path: str) -> Partition:
    """Return the partition of a submodule out of one of the whole model: the inverse of `joined`."""
    prefix = f"{path}."

    def own(name: str) -> str:
        return name.removeprefix(prefix) if name != path else ""

    layers = [layer for layer in partition.layers if all(name.startswith(prefix) for name in layer.parameters)]
    return replace(
        partition,
        layers=tuple(
            replace(layer, parameters=tuple(map(own, layer.parameters)), modules=tuple(map(own, layer.modules)))
            for layer in layers
        ),
        aliases={own(alias): own(name) for alias, name in partition.aliases.items() if alias.startswith(prefix)},
        warnings=(),
        notes=(),
    )


def _placed(path: str, text: str) -> str:
    """A text with the submodule that it is about."""
    return f"{path}: {text}" if path else text
