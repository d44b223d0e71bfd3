"""The parts of a model for semantic segmentation of transformers: backbone, neck, head, known by identity.

The backbone is the base model, or the modules of a backbone class. A child of the model that holds a parameter whose
shape depends on the number of classes is a decode head, with all that it holds. What is left is the neck.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from thermocline.tuning.layers.heads import base_prefix, is_task_model, label_dependent
from thermocline.tuning.layers.module_names import is_inside


def is_segmenter(model: nn.Module) -> bool:
    """Whether it is one of transformers' models for semantic segmentation."""
    return is_task_model(model) and type(model).__name__.endswith("ForSemanticSegmentation")


def segmenter_parts(model: nn.Module, backbones: Sequence[str]) -> dict[str, str] | None:
    """Return the part of each parameter, by all of its names, or None where no backbone or head is found.

    Args:
        model: A model for semantic segmentation, out of its wrappers.
        backbones: The names of modules of a backbone class; they count where there is no base model.
    """
    names = [name for name, _ in model.named_parameters(remove_duplicate=False)]
    prefix = base_prefix(model)
    roots = [prefix] if prefix else list(backbones)
    dependent = label_dependent(model)
    heads = {name.split(".")[0] for name, p in model.named_parameters(remove_duplicate=False) if id(p) in dependent}
    parts = {name: _part(name, roots, heads) for name in names}
    return parts if {"backbone", "head"} <= set(parts.values()) else None


def _part(name: str, backbones: Sequence[str], heads: set[str]) -> str:
    if any(is_inside(name, root) for root in backbones):
        return "backbone"
    return "head" if name.split(".")[0] in heads else "neck"
