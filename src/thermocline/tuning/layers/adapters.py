"""Adapters: which parameters they train or wrap, and the map of a model into which a library has added some."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from torch import nn

from thermocline.tuning.layers.layer import Layer
from thermocline.tuning.layers.layer_map import LayerMap
from thermocline.tuning.layers.layer_modules import assign_modules
from thermocline.tuning.layers.named_model import named_parameters
from thermocline.tuning.layers.norms import is_norm

#: The attribute under which an adapter library keeps the module that it replaced.
_REPLACED = ".base_layer."


def biases(model: nn.Module) -> tuple[str, ...]:
    """Return the names of all biases, those of norms included: what BitFit trains (Ben Zaken et al., ACL 2022).

    Position biases are not among them: they are tables, not vectors that a layer adds.
    """
    return tuple(name for name, p in model.named_parameters() if _is_bias(name.rpartition(".")[2], p.ndim))


def norms(model: nn.Module) -> tuple[str, ...]:
    """Return the names of the weights and biases of normalisation layers, found by the type of the module."""
    parameters, _ = named_parameters(model)
    found = {
        id(p)
        for module in model.modules()
        if is_norm(module)
        for p in module.parameters(recurse=False)
        if isinstance(module, nn.LayerNorm | nn.RMSNorm) or sum(size > 1 for size in p.shape) <= 1
    }
    return tuple(name for name, p in parameters.items() if id(p) in found)


def matrices(model: nn.Module, layer_map: LayerMap) -> tuple[str, ...]:
    """Return the names of the linear layers in a model's blocks, and of the convolutions in blocks without any.

    Grouped convolutions are left out: they hold few weights, and a low-rank product is not of their form.

    Args:
        model: The model, without adapters.
        layer_map: Its layers; stem, necks and head are left out.
    """
    modules = dict(model.named_modules())
    found: list[str] = []
    for layer in layer_map:
        if layer.role == "block":
            own = [name.removesuffix(".weight") for name in layer.parameters if name.endswith(".weight")]
            linear = [name for name in own if _is_linear(modules[name])]
            found += linear or [name for name in own if _is_plain_convolution(modules[name])]
    return tuple(found)


def with_injected(layer_map: LayerMap, before: Mapping[str, nn.Parameter], model: nn.Module) -> LayerMap:
    """Return the map of a model into which an adapter library has since added its layers, in place.

    Layers stay what they were, under the names that their parameters have now. What was added becomes a layer
    `<host>.adapter` after the layer that hosts it, of the same depth.

    Args:
        layer_map: The map as it was.
        before: The parameters as they were, by name.
        model: The model as it is now.
    """
    parameters, aliases = named_parameters(model)
    now = {id(p): name for name, p in parameters.items()}
    old = [replace(layer, parameters=tuple(now[id(before[n])] for n in layer.parameters)) for layer in layer_map]
    hosts = {name.split(_REPLACED)[0]: layer.label for layer in old for name in layer.parameters if _REPLACED in name}
    known = {id(p) for p in before.values()}
    added: dict[str, list[str]] = {}
    for name, parameter in parameters.items():
        if id(parameter) not in known:
            above = next(path for path in _parents(name) if path in hosts)
            added.setdefault(hosts[above], []).append(name)
    layers: list[Layer] = []
    for layer in old:
        layers.append(layer)
        if names := tuple(added.get(layer.label, ())):
            own = replace(layer, name=f"{layer.name}.adapter", role="adapter", pretrained=False, source="adapter")
            size = sum(parameters[name].numel() for name in names)
            layers.append(replace(own, parameters=names, n_parameters=size))
    modules = assign_modules(model, [layer.parameters for layer in layers], [layer.role for layer in layers])
    placed = tuple(replace(layer, modules=held) for layer, held in zip(layers, modules, strict=True))
    return LayerMap(placed, aliases, layer_map.warnings, layer_map.confident)


def _is_bias(leaf: str, dimensions: int) -> bool:
    return leaf == "bias" or (dimensions == 1 and (leaf.endswith("_bias") or leaf.startswith("bias_")))


def _is_linear(module: nn.Module) -> bool:
    """Whether a module is a linear layer; the transposed one of transformers (GPT-2) is known by its class name."""
    return isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D"


def _is_plain_convolution(module: nn.Module) -> bool:
    return isinstance(module, nn.Conv2d) and module.groups == 1


def _parents(name: str) -> list[str]:
    """The modules that hold a parameter, innermost first."""
    parts = name.split(".")[:-1]
    return [".".join(parts[:end]) for end in range(len(parts), 0, -1)]
