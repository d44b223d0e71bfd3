"""Whether a plan can be carried out on a model: the same layers, each parameter once, and something to train."""

from __future__ import annotations

from typing import TYPE_CHECKING

from thermocline.errors import ConfigError, SelectorError, listing

if TYPE_CHECKING:
    from thermocline.tuning.layers.layer_map import LayerMap
    from thermocline.tuning.plan.layer_plan import LayerPlan


def check(plan: LayerPlan, layer_map: LayerMap) -> None:
    """`LayerPlan.check`."""
    if all(layer.frozen for layer in plan.layers if layer.n_parameters):
        raise SelectorError("The plan freezes every layer: nothing is left to train. Let one of them train.")
    mine, theirs = set(plan.labels), set(layer_map.labels)
    if mine != theirs:
        parts = [f"the plan lacks {listing(sorted(theirs - mine), limit=4)}"] if theirs - mine else []
        parts += [f"the model has no {listing(sorted(mine - theirs), limit=4)}"] if mine - theirs else []
        raise ConfigError(
            f"This plan was made for another model: {'; '.join(parts)}. Build it with "
            "LayerPlan.build(layer_map, …) from this model's map."
        )
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
            f"Nothing trains in phase {idle[0]!r}: all that it names is frozen throughout (frozen_layers). "
            "Let it train something else, or take it out."
        )


def idle_phases(plan: LayerPlan) -> list[str]:
    """Return the names of phases in which no layer with weights trains."""
    weights = {layer.label for layer in plan.layers if layer.n_parameters}
    timeline = plan.timeline
    return [
        phase.name
        for number, phase in enumerate(plan.phases)
        if not weights & (timeline.always[number] | frozenset(timeline.pools[number]))
    ]


def check_parameters(plan: LayerPlan) -> None:
    """Raise unless labels are unique and no parameter is in two layers.

    Raises:
        ConfigError: They are not.
    """
    holder: dict[str, str] = {}
    if len(set(plan.labels)) != len(plan.labels):
        raise ConfigError("The plan names a layer twice.")
    for layer in plan.layers:
        for name in layer.parameters:
            if name in holder:
                raise ConfigError(
                    f"The plan has the parameter {name!r} in two layers, {holder[name]!r} and {layer.label!r}."
                )
            holder[name] = layer.label
