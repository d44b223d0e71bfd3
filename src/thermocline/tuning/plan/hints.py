"""Hints about a plan that its author may not have meant: shown with it, none of them an error."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from torch import nn

from thermocline.errors import listing
from thermocline.tuning.layers.layer import BACKBONE_ROLES
from thermocline.tuning.layers.layer_map import LayerMap
from thermocline.tuning.plan.checks import idle_phases
from thermocline.tuning.plan.decisions import Decisions
from thermocline.tuning.plan.parameter_rules import matched
from thermocline.tuning.plan.plan_layer import PlanLayer
from thermocline.tuning.plan.small_rates import too_small_rates
from thermocline.tuning.schedule.phases import Phase


def hints(plan: Decisions, model: nn.Module | None = None) -> tuple[str, ...]:
    """Return a line for everything about a plan that its author may not have meant.

    Args:
        plan: The plan.
        model: The model that it is for, where its weights are to tell whether a rate is too small.

    Raises:
        ConfigError: The plan is for another model.
    """
    found = [
        *_frozen_after_trainable(plan),
        *_frozen_heads(plan),
        *_slow_new_layers(plan),
        *too_small_rates(plan, model),
        *_idle_phases(plan),
        *_idle_rules(plan),
        *_endless_phases(plan.phases),
        *_run_length(plan),
    ]
    return tuple(dict.fromkeys(found))


def _trained_sets(plan: Decisions) -> list[tuple[str, frozenset[str]]]:
    """By phase its name and the layers that train throughout it; phases that draw layers are left out."""
    pairs = zip(plan.phases, plan.timeline.always, strict=True)
    return [(phase.name, always) for phase, always in pairs if phase.draw is None]


def _frozen_after_trainable(plan: Decisions) -> Iterator[str]:
    """Frozen layers that run after trainable ones: the gradient passes through them all the same."""
    for name, trains in _trained_sets(plan):
        for tower in dict.fromkeys(layer.tower for layer in plan.layers):
            own = [x for x in plan.layers if x.tower == tower and x.role in BACKBONE_ROLES and x.n_parameters]
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


def _frozen_heads(plan: Decisions) -> Iterator[str]:
    for name, trains in _trained_sets(plan):
        heads = [x.label for x in plan.layers if x.role == "head" and x.n_parameters and x.label not in trains]
        if heads:
            yield f"the head {listing(heads)} is frozen{_where(plan, name)}: it cannot adapt to the layers below it"


def _idle_rules(plan: Decisions) -> Iterator[str]:
    """Parameter rules about frozen layers alone."""
    frozen = {name for layer in plan.layers if layer.label in set(plan.frozen) for name in layer.parameters}
    for rule in plan.parameter_rules:
        if frozen.issuperset(matched(rule, plan.layer_map)):
            yield f"the parameter rule of {listing(rule.parameters)} has no effect: all that it matches is frozen"


def _slow_new_layers(plan: Decisions) -> Iterator[str]:
    """New layers whose rate is not higher than that of pretrained ones."""
    for phase, own in zip(plan.phases, plan.timeline.layers, strict=True):
        old = [own.scales[x.label] for x in plan.layers if x.pretrained and x.label in own.always]
        new = [x for x in plan.layers if _is_new(x) and x.label in own.always]
        slow = [x.label for x in new if old and own.scales[x.label] <= max(old)]
        if slow:
            yield (
                f"newly initialised {listing(slow, limit=3)} {'have' if len(slow) > 1 else 'has'}"
                f"{_where(plan, phase.name)} no higher rate than a pretrained layer; lr_choice='two_stage' or "
                "'layerwise_decay' gives one"
            )


def _is_new(layer: PlanLayer) -> bool:
    return not layer.pretrained and layer.role != "adapter" and bool(layer.n_parameters)


def _idle_phases(plan: Decisions) -> Iterator[str]:
    for name in idle_phases(plan):
        yield (
            f"phase {name!r} trains nothing: all that it names is frozen throughout, or has a rate of 0. fit refuses it"
        )


def _endless_phases(phases: Sequence[Phase]) -> Iterator[str]:
    """Phases that may never end, and a plateau that ends nothing."""
    for phase in phases[:-1]:
        if (phase.steps, phase.epochs, phase.fraction) != (None, None, None):
            continue
        if phase.plateau is not None:
            yield (
                f"phase {phase.name!r} ends by its plateau alone and may take the whole run; give it an end in epochs "
                "or a fraction besides"
            )
        else:
            yield f"phase {phase.name!r} has no end, so the phases after it never begin"
    if phases[-1].plateau is not None:
        yield f"the plateau of the last phase, {phases[-1].name!r}, ends nothing: no phase follows"


def _run_length(plan: Decisions) -> Iterator[str]:
    """Phases that the run does not reach, and runs that are longer than their phases."""
    if not plan.total_steps or not plan.steps_per_epoch:
        return
    epochs = plan.total_steps / plan.steps_per_epoch
    last = plan.cursor(plan.total_steps - 1, plan.total_steps, steps_per_epoch=plan.steps_per_epoch).phase
    late = [phase.name for phase in plan.phases[last + 1 :]]
    if late and all(phase.plateau is None for phase in plan.phases):
        verb = "begin" if len(late) > 1 else "begins"
        yield f"{listing(late, limit=3)} never {verb}: the run ends after {epochs:g} epoch{'s' * (epochs != 1)}"
    elif plan.epochs is not None and math.ceil(plan.epochs * plan.steps_per_epoch) < plan.total_steps:
        yield (
            f"the phases take {plan.epochs:g} epoch{'s' * (plan.epochs != 1)} and the run {epochs:g}: the last "
            "phase is prolonged at the rate "
            "that it ended with"
        )


def _where(plan: Decisions, name: str) -> str:
    return f" in phase {name!r}" if len(plan.phases) > 1 else ""


def tied_under_two_rules(layers: Sequence[PlanLayer], layer_map: LayerMap) -> tuple[str, ...]:
    """Return a line for every tied parameter whose two layers are decided differently; its first layer decides.

    Args:
        layers: The plan's layers.
        layer_map: The same layers, with their aliases.
    """
    decided = {layer.label: (layer.pinned, layer.lr_scale) for layer in layers}
    out = []
    for alias, name in layer_map.aliases.items():
        first = layer_map.layer_of(name)
        module = alias.rpartition(".")[0]
        other = next((layer for layer in layer_map if module in layer.modules and layer is not first), None)
        if other is not None and decided[other.label][0] and not decided[first.label][0]:
            out.append(
                f"{alias!r} in the frozen {other.label!r} is not frozen: it is tied to {name!r} of {first.label!r}, "
                f"which trains. Freeze {first.name!r} too"
            )
        elif other is not None and decided[first.label] != decided[other.label]:
            out.append(
                f"tied: {name!r} of {first.label!r} is also {alias!r} in {other.label!r}, which is decided otherwise; "
                f"{first.label!r} decides"
            )
    return tuple(out)
