"""Which modules are normalisations, by their type."""

from __future__ import annotations

from torch import nn


def is_norm(module: nn.Module) -> bool:
    """Whether a module is a normalisation, by its type."""
    return "norm" in type(module).__name__.lower() and all(p.ndim <= 3 for p in module.parameters())


def is_norm_parameter(model: nn.Module, name: str) -> bool:
    """Whether a parameter of a model is held by a normalisation."""
    return is_norm(model.get_submodule(name.rpartition(".")[0]))
