"""What is odd about a plan: hints shown with it, none of them an error."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from thermocline.errors import listing
from thermocline.tuning.plan.checks import idle_phases

if TYPE_CHECKING:
    from thermocline.tuning.layers.layer_map import LayerMap
    from thermocline.tuning.plan.layer_plan import LayerPlan, PlanLayer

_TRUNK = ("stem", "block", "neck")


def lint(plan: LayerPlan) -> tuple[str, ...]:
    """Return a line for everything about a plan that its maker may not have meant."""
    found = [*_order(plan), *_head(plan), *_fresh(plan), *_idle(plan), *_length(plan)]
    return tuple(dict.fromkeys(found))


def _sets(plan: LayerPlan) -> list[tuple[str, frozenset[str]]]:
    """Phase by phase, its name and what trains throughout it; phases that draw are not looked at."""
    timeline = plan.timeline
    return [(phase.name, timeline.always[number]) for number, phase in enumerate(plan.phases) if phase.draw is None]


def _order(plan: LayerPlan) -> Iterator[str]:
    """Frozen layers behind trainable ones: the gradient passes through them all the same."""
    for name, trains in _sets(plan):
        for tower in dict.fromkeys(layer.tower for layer in plan.layers):
            own = [x for x in plan.layers if x.tower == tower and x.role in _TRUNK and x.n_parameters]
            first = next((i for i, layer in enumerate(own) if layer.label in trains), len(own))
            behind = [layer.label for layer in own[first + 1 :] if layer.label not in trains]
            if not behind:
                continue
            where = _where(plan, name)
            if own[first].role == "stem" and all(layer.label in behind for layer in own[first + 1 : first + 2]):
                yield (
                    f"{own[first].label!r} (with any position embedding) trains{where} ahead of the frozen "
                    f"{listing(behind, limit=2)}: the backward pass runs through them all the same, so freezing "
                    "them saves no time. Freeze the stem too"
                )
            else:
                yield (
                    f"{listing(behind, limit=2)} {'are' if len(behind) > 1 else 'is'} frozen{where} behind the "
                    f"trainable {own[first].label!r}: that saves no backward pass, only gradients and optimizer memory"
                )


def _head(plan: LayerPlan) -> Iterator[str]:
    for name, trains in _sets(plan):
        heads = [x.label for x in plan.layers if x.role == "head" and x.n_parameters and x.label not in trains]
        if heads:
            yield f"the head {listing(heads)} is frozen{_where(plan, name)}: it cannot follow what is below it"


def _fresh(plan: LayerPlan) -> Iterator[str]:
    """New layers that learn no faster than pretrained ones."""
    for number, (name, trains) in enumerate(
        (phase.name, plan.timeline.always[i]) for i, phase in enumerate(plan.phases)
    ):
        scale = plan.timeline.scales[number]
        old = [scale[x.label] for x in plan.layers if x.pretrained and x.label in trains]
        new = [x for x in plan.layers if _is_new(x) and x.label in trains]
        slow = [x.label for x in new if old and scale[x.label] <= max(old)]
        if slow:
            yield (
                f"newly initialised {listing(slow, limit=3)} {'learn' if len(slow) > 1 else 'learns'}"
                f"{_where(plan, name)} no faster than a pretrained layer; lr_choice='two_stage' or "
                "'layerwise_decay' gives it a higher rate"
            )


def _is_new(layer: PlanLayer) -> bool:
    return not layer.pretrained and layer.role != "adapter" and bool(layer.n_parameters)


def _idle(plan: LayerPlan) -> Iterator[str]:
    for name in idle_phases(plan):
        yield f"phase {name!r} trains nothing: all that it names is frozen throughout. fit refuses it"


def _length(plan: LayerPlan) -> Iterator[str]:
    """Phases that never come, and phases that may never end."""
    for phase in plan.phases[:-1]:
        if phase.plateau is not None and (phase.steps, phase.epochs, phase.fraction) == (None, None, None):
            yield (
                f"phase {phase.name!r} ends by its plateau alone and may take the whole run; give it an end in epochs "
                "or a fraction besides"
            )
        elif phase.plateau is None and (phase.steps, phase.epochs, phase.fraction) == (None, None, None):
            yield f"phase {phase.name!r} has no end, so what follows it never comes"
    if plan.phases[-1].plateau is not None:
        yield f"the plateau of the last phase, {plan.phases[-1].name!r}, ends nothing: no phase follows"
    if not plan.total_steps or not plan.steps_per_epoch:
        return
    last = plan.cursor(plan.total_steps - 1, plan.total_steps, steps_per_epoch=plan.steps_per_epoch).phase
    late = [phase.name for phase in plan.phases[last + 1 :]]
    if late and all(phase.plateau is None for phase in plan.phases):
        epochs = plan.total_steps / plan.steps_per_epoch
        verb = "come" if len(late) > 1 else "comes"
        yield f"{listing(late, limit=3)} never {verb}: the run ends after {epochs:g} epochs"
    elif plan.epochs is not None and math.ceil(plan.epochs * plan.steps_per_epoch) < plan.total_steps:
        yield (
            f"the phases take {plan.epochs:g} epochs and the run {plan.total_steps / plan.steps_per_epoch:g}: the last "
            "phase goes on at the rate it ended with"
        )


def _where(plan: LayerPlan, name: str) -> str:
    return f" in phase {name!r}" if len(plan.phases) > 1 else ""


def tied_under_two_rules(plan: LayerPlan, layer_map: LayerMap) -> tuple[str, ...]:
    """Return a line for every tied parameter whose two places are decided differently; its first place decides.

    Args:
        plan: The plan.
        layer_map: Its layers, which know the aliases.
    """
    out = []
    for alias, name in layer_map.aliases.items():
        first = layer_map.layer_of(name)
        module = alias.rpartition(".")[0]
        other = next((layer for layer in layer_map if module in layer.modules and layer is not first), None)
        if other is None:
            continue
        a, b = plan[first.label], plan[other.label]
        if (a.frozen, a.lr_scale) != (b.frozen, b.lr_scale):
            out.append(
                f"{TIED} {name!r} of {first.label!r} is also {alias!r} in {other.label!r}, which is decided otherwise; "
                f"{first.label!r} decides"
            )
    return tuple(out)


TIED = "tied:"
