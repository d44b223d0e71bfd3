"""Optimizer groups from a plan: each trainable parameter exactly once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from thermocline.errors import ConfigError, listing
from thermocline.tuning.layers.wrappers import clean_name, unwrap, unwrapped_name
from thermocline.tuning.plan.decisions import Decisions
from thermocline.tuning.plan.plan_layer import PlanLayer
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
        decay = entry.weight_decay if weight_decay is None else float(weight_decay)
        for key, members in _parts(plan, entry, parameters, bare, decay).items():
            suffix, own_decay, rule_scale = key
            groups.append(
                {
                    "params": members,
                    "lr": lr * entry.lr_scale * rule_scale,
                    "weight_decay": own_decay,
                    "name": entry.label + suffix,
                    "lr_scale": entry.lr_scale,
                    "rule_scale": rule_scale,
                    "layer": entry.label,
                }
            )
    _check_sum(groups, [parameters[name] for one in plan.layers if one.label not in never for name in one.parameters])
    return groups


def _parts(
    plan: Decisions, entry: PlanLayer, parameters: Mapping[str, nn.Parameter], bare: set[int], decay: float
) -> dict[tuple[str, float, float], list[nn.Parameter]]:
    """A layer's parameters by suffix of the group's name, weight decay and multiple of the layer's rate."""
    plain, undecayed_part = ("", decay, 1.0), (":no_decay", 0.0, 1.0)
    parts: dict[tuple[str, float, float], list[nn.Parameter]] = {plain: [], undecayed_part: []}
    for name in entry.parameters:
        parameter, setting = parameters[name], plan.settings.get(name)
        usual = undecayed_part if id(parameter) in bare else plain
        if setting is None:
            parts[usual].append(parameter)
            continue
        scale = 1.0 if setting.lr_scale is None else setting.lr_scale
        own_decay = usual[1] if setting.weight_decay is None else setting.weight_decay
        suffix = f":lr_scale={scale!r},weight_decay={own_decay!r}"
        parts.setdefault((suffix, own_decay, scale), []).append(parameter)
    return {key: members for key, members in parts.items() if members}


def _check_sum(groups: list[dict[str, Any]], wanted: list[nn.Parameter]) -> None:
    """Check that each parameter that may train is in just one group, and that groups have names of their own."""
    members = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(members) == sorted(map(id, wanted)), "each parameter is in one group"
    assert len({group["name"] for group in groups}) == len(groups), "a name for each group"


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
