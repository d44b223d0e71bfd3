"""Optimizer groups from a plan: each trainable parameter exactly once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import nn

from thermocline.tuning.kinds import undecayed

if TYPE_CHECKING:
    from thermocline.tuning.layers import LayerMap
    from thermocline.tuning.plan import LayerPlan


def parameter_groups(plan: LayerPlan, model: nn.Module, layer_map: LayerMap) -> list[dict[str, Any]]:
    """`LayerPlan.parameter_groups`."""
    parameters = dict(model.named_parameters(remove_duplicate=False))
    bare = undecayed(model)
    groups: list[dict[str, Any]] = []
    for layer in layer_map:
        entry = plan[layer.label]
        if entry.frozen:
            continue
        decayed = [name for name in layer.parameters if name not in bare]
        plain = [name for name in layer.parameters if name in bare]
        for names, decay, suffix in ((decayed, entry.weight_decay, ""), (plain, 0.0, ":no_decay")):
            if names:
                groups.append(
                    {
                        "params": [parameters[name] for name in names],
                        "lr": plan.lr * entry.lr_scale,
                        "weight_decay": decay,
                        "name": layer.label + suffix,
                        "lr_scale": entry.lr_scale,
                        "layer": layer.label,
                    }
                )
    _assert_total(plan, model, layer_map, groups)
    return groups


def _assert_total(plan: LayerPlan, model: nn.Module, layer_map: LayerMap, groups: list[dict[str, Any]]) -> None:
    grouped = [id(p) for group in groups for p in group["params"]]
    frozen = {name for layer in layer_map if plan[layer.label].frozen for name in layer.parameters}
    expected = {id(p) for name, p in model.named_parameters() if name not in frozen}
    assert len(grouped) == len(set(grouped)), "a parameter is in two optimizer groups"
    assert set(grouped) == expected, "the optimizer groups are not all trainable parameters"
    names = [group["name"] for group in groups]
    assert len(names) == len(set(names)), "two optimizer groups have one name"
