"""Optimizer groups from a plan: each trainable parameter exactly once."""

from __future__ import annotations

from typing import Any

from torch import nn

from thermocline.errors import ConfigError, listing
from thermocline.tuning.layers.wrappers import clean_name, unwrap, unwrapped_name
from thermocline.tuning.plan.decisions import Decisions
from thermocline.tuning.plan.weight_decay import undecayed


def parameter_groups(plan: Decisions, model: nn.Module, lr: float, weight_decay: float | None) -> list[dict[str, Any]]:
    """Return groups for a torch optimizer, as `LayerPlan.parameter_groups` describes."""
    parameters = found_parameters(plan, model)
    kept = undecayed(model)
    bare = {id(p) for name, p in model.named_parameters() if name in kept}
    groups: list[dict[str, Any]] = []
    never = set(plan.frozen)
    for entry in plan.layers:
        if entry.label in never:
            continue
        own = [parameters[name] for name in entry.parameters]
        decay = entry.weight_decay if weight_decay is None else float(weight_decay)
        parts = (
            ([p for p in own if id(p) not in bare], decay, ""),
            ([p for p in own if id(p) in bare], 0.0, ":no_decay"),
        )
        groups.extend(
            {
                "params": members,
                "lr": lr * entry.lr_scale,
                "weight_decay": rate,
                "name": entry.label + suffix,
                "lr_scale": entry.lr_scale,
                "layer": entry.label,
            }
            for members, rate, suffix in parts
            if members
        )
    return groups


def found_parameters(plan: Decisions, model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the model's parameters by the names that the plan has for them.

    Raises:
        ConfigError: The plan's parameters are not those of the model, each once.
    """
    exact = dict(model.named_parameters(remove_duplicate=False))
    core, _ = unwrap(model)
    cleaned = {clean_name(name): p for name, p in core.named_parameters(remove_duplicate=False)}
    wanted = [name for layer in plan.layers for name in layer.parameters]
    found = {}
    for name in wanted:
        parameter = exact.get(name)
        found[name] = parameter if parameter is not None else cleaned.get(unwrapped_name(name))
    missing = [name for name, parameter in found.items() if parameter is None]
    known = {id(p) for p in found.values()}
    left = [name for name, p in model.named_parameters() if id(p) not in known]
    if missing or left or len(known) < len(wanted):
        faults = [f"the model has no {listing(missing, limit=4)}"] if missing else []
        faults += [f"the plan has no {listing(left, limit=4)}"] if left else []
        raise ConfigError(
            f"This plan was made for another model: {'; '.join(faults) or 'it holds a parameter twice'}. "
            "Build it with LayerPlan.build(LayerMap.of(model), …) from this very model."
        )
    return {name: p for name, p in found.items() if p is not None}
