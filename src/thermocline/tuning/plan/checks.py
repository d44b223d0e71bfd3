"""Whether a plan can be applied to a model: the same layers with the same parameters, and something to train."""

from __future__ import annotations

from thermocline.errors import ConfigError, SelectorError, listing
from thermocline.tuning.layers.layer_map import LayerMap
from thermocline.tuning.plan.decisions import Decisions


def check(plan: Decisions, layer_map: LayerMap) -> None:
    """Raise unless a plan is about the layers of a map, as `LayerPlan.check` describes."""
    if all(layer.pinned for layer in plan.layers if layer.n_parameters):
        raise SelectorError(
            "The plan freezes every layer, or gives it a rate of 0: nothing is left to train. Let one of them train."
        )
    _check_labels(plan, layer_map)
    for layer in layer_map:
        entry = plan[layer.label]
        if layer.n_parameters != entry.n_parameters:
            raise ConfigError(
                f"This plan was made for another model: its layer {layer.label!r} has "
                f"{entry.n_parameters} weights, the model's {layer.n_parameters}."
            )
        if set(layer.parameters) != set(entry.parameters):
            lost = sorted(set(layer.parameters) ^ set(entry.parameters))
            raise ConfigError(
                f"The plan's layer {layer.label!r} does not hold the parameters of the model's: "
                f"{listing(lost, limit=4)}."
            )
    idle = idle_phases(plan)
    if idle:
        raise SelectorError(
            f"Nothing trains in phase {idle[0]!r}: all that it names is frozen throughout (frozen_layers), or has a "
            "rate of 0, which is freezing. Let it train something else, or remove it."
        )


def _check_labels(plan: Decisions, layer_map: LayerMap) -> None:
    mine, theirs = set(plan.labels), set(layer_map.labels)
    if mine != theirs:
        parts = [f"the plan lacks {listing(sorted(theirs - mine), limit=4)}"] if theirs - mine else []
        parts += [f"the model has no {listing(sorted(mine - theirs), limit=4)}"] if mine - theirs else []
        raise ConfigError(
            f"This plan was made for another model: {'; '.join(parts)}. Build it with "
            "LayerPlan.build(layer_map, …) from this model's map."
        )


def idle_phases(plan: Decisions) -> list[str]:
    """Return the names of phases in which no layer with weights trains."""
    weights = {layer.label for layer in plan.layers if layer.n_parameters}
    return [
        phase.name
        for phase, own in zip(plan.phases, plan.timeline.layers, strict=True)
        if not weights & own.always.union(own.pool)
    ]
