"""Wrappers around a model or its modules (torch.compile, DDP, FSDP, PEFT), and names without them."""

from __future__ import annotations

from torch import nn

#: Attribute names under which wrappers keep the real module; they are no part of a layer's name.
WRAPPER_SEGMENTS = frozenset({"base_layer", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})
#: Paths to the model inside a wrapper around the whole: torch.compile, DDP and DataParallel, PEFT.
WRAPPER_PATHS = ("_orig_mod", "module", "base_model.model", "_fsdp_wrapped_module")


def clean_name(name: str) -> str:
    """Return a module or parameter name without the segments that wrappers add."""
    return ".".join(part for part in name.split(".") if part not in WRAPPER_SEGMENTS)


def unwrapped_name(name: str) -> str:
    """Return a name without the segments that wrappers add, and without the path through wrappers of the whole."""
    again = True
    while again:
        again = False
        for path in WRAPPER_PATHS:
            if name.startswith(f"{path}."):
                name, again = name.removeprefix(f"{path}."), True
    return clean_name(name)


def unwrap(model: nn.Module) -> tuple[nn.Module, str]:
    """Return the model inside its wrappers and the path to it (`""` where there is none)."""
    prefix = ""
    while True:
        for path in WRAPPER_PATHS:
            inner = _child_at(model, path)
            if inner is not None:
                model, prefix = inner, f"{prefix}{path}."
                break
        else:
            return model, prefix.removesuffix(".")


def _child_at(model: nn.Module, path: str) -> nn.Module | None:
    """Follow `path` through registered children (a property such as base_model does not count)."""
    first, *rest = path.split(".")
    children = dict(model.named_children())
    # A user's own model may call a child "module"; a wrapper holds no parameters besides it.
    if first not in children or any(
        sum(1 for _ in child.parameters()) for key, child in children.items() if key != first
    ):
        return None
    if next(model.parameters(recurse=False), None) is not None:
        return None
    current = children[first]
    for part in rest:
        found = dict(current.named_children()).get(part)
        if found is None:
            return None
        current = found
    return current
