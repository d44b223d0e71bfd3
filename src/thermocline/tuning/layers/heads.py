"""Which parameters are the head: the caller's modules, by identity, or what the model itself declares.

No substring of a name decides: a model declares its head through `get_classifier()` (timm), through `base_model_prefix`
(transformers), or through parameters whose size changes with the number of labels.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import nn

from thermocline.errors import LayerMapError

#: From this number of classes on, a layer of that width is taken for a head.
_LEAST_CLASSES = 3
Head = nn.Module | Sequence[nn.Module] | None


def head_parameters(model: nn.Module, head: Head) -> tuple[set[int], str]:
    """Return the ids of the head's parameters and how they were found.

    Args:
        model: The model, out of its wrappers.
        head: Modules that the caller made, or None to ask the model.

    Raises:
        LayerMapError: A head was given that is not inside the model.
    """
    if head is not None:
        modules = [head] if isinstance(head, nn.Module) else list(head)
        return _given(model, modules), "caller"
    if callable(getattr(model, "get_classifier", None)):
        return _timm_head(model), "get_classifier"
    found = label_dependent(model)
    base = base_model(model)
    if base is None:
        return found, "label-dependent"
    inside = {id(p) for p in base.parameters()}
    return found | ({id(p) for p in model.parameters()} - inside), "base_model_prefix"


def base_model(model: nn.Module) -> nn.Module | None:
    """Return the child that transformers calls the base model, or None where the model is one itself."""
    prefix = base_prefix(model)
    return dict(model.named_children())[prefix] if prefix else None


def base_prefix(model: nn.Module) -> str:
    """Return the name of that child, or `""`."""
    prefix = getattr(model, "base_model_prefix", "")
    children = dict(model.named_children())
    if isinstance(prefix, str) and prefix in children and is_task_model(model):
        return prefix
    return ""


def is_task_model(model: nn.Module) -> bool:
    """Whether a class of transformers is one for a task: `BertForTokenClassification`, but not `OneFormerModel`."""
    return re.search(r"For[A-Z]", type(model).__name__) is not None


def _given(model: nn.Module, modules: Iterable[nn.Module]) -> set[int]:
    known = {id(module) for module in model.modules()}
    found: set[int] = set()
    for module in modules:
        if id(module) not in known:
            raise LayerMapError(
                f"head= was given a {type(module).__name__} that is not a submodule of the "
                f"{type(model).__name__}. Pass the module that is in the model, not a copy of it."
            )
        found |= {id(p) for p in module.parameters()}
    return found


def _modules_in(value: Any) -> list[nn.Module]:
    if isinstance(value, nn.Module):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return [module for item in value for module in _modules_in(item)]
    return []


def _timm_head(model: nn.Module) -> set[int]:
    found: set[int] = set()
    for module in _modules_in(model.get_classifier()):  # type: ignore[operator]
        found |= {id(p) for p in module.parameters()}
    classes = getattr(model, "num_classes", 0)
    if not found or not isinstance(classes, int) or classes < 1:
        return found
    # what has the width of the classes is new: a norm inside the classifier's module is pretrained
    leaves = {name: m for name, m in model.named_modules() if isinstance(m, (nn.Linear, nn.Conv2d))}
    wide = {name: m for name, m in leaves.items() if m.weight.shape[0] == classes}
    own = found & {id(p) for module in wide.values() for p in module.parameters(recurse=False)}
    if not own or classes < _LEAST_CLASSES:
        return own or found
    # second heads (volo's aux_head, efficientvim's many)
    for name, module in wide.items():
        if any("head" in part or "classifier" in part or part == "fc" for part in name.split(".")):
            own |= {id(p) for p in module.parameters(recurse=False)}
    return own


def label_dependent(model: nn.Module) -> set[int]:
    """Return the ids of parameters whose shape changes with the number of labels; the model is built again, on meta."""
    config = getattr(model, "config", None)
    if config is None or not is_task_model(model) or not hasattr(config, "num_labels"):
        return set()
    try:
        wider = copy.deepcopy(config)
        wider.num_labels = int(config.num_labels) + 1
        with torch.device("meta"):
            other = type(model)(wider)
    except Exception:  # a foreign constructor may raise anything; then nothing is known
        return set()
    shapes = {name: p.shape for name, p in other.named_parameters()}
    return {id(p) for name, p in model.named_parameters() if shapes.get(name, p.shape) != p.shape}
