"""The schedule of the Lightning example "Differential learning rates": a phase per milestone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from thermocline.errors import ConfigError, counted, did_you_mean, listing
from thermocline.tuning.named_schedules import layer_groups
from thermocline.tuning.named_schedules.group_rates import first_group, listed_rates
from thermocline.tuning.named_schedules.phase_template import Phases
from thermocline.tuning.number_checks import positive, whole
from thermocline.tuning.plan.decisions import Decisions
from thermocline.tuning.schedule.phases import Phase

_KEYS = ("freeze_to", "duration", "pct_start", "lrs")
#: An epoch, from 1, and what holds from it on.
_Milestone = tuple[int, Mapping[str, Any]]


def milestones(
    plan: Decisions,
    milestones: Mapping[Any, Mapping[str, Any]],
    *,
    groups: Any = None,
    div_factor: float = 5.0,
    final_div_factor: float = 100.0,
) -> Phases:
    """Write a phase per milestone, as the example "Differential learning rates with PyTorch Lightning" (xultaeculcis).

    There milestones are counted from epoch 1 and looked up from epoch 0, so that the first epoch trains at no
    schedule and the last milestone never runs; here epoch 1 is the first and all of them run.

    Args:
        plan: The plan.
        milestones: Epoch (from 1) → `freeze_to` (as in `freeze_to`), `duration` (epochs; by default up to the next
            milestone), `pct_start` (of one cycle, .3 by default), `lrs` (each group's highest rate; by default the
            plan's own).
        groups: See `layer_groups.split_layers`.
        div_factor: Every cycle starts at its rate divided by this,
        final_div_factor: and ends at its start divided by this.
    """
    split = layer_groups.split_layers(plan, groups)
    ordered = _sorted(milestones)
    phases = []
    for number, (epoch, one) in enumerate(ordered):
        start = first_group(one.get("freeze_to", 0), len(split))
        phases.append(
            Phase(
                f"epoch {epoch}",
                layer_groups.trains(plan, layer_groups.joined(plan, split[start:])),
                "one_cycle",
                epochs=_epochs(ordered, number),
                pct_start=one.get("pct_start", 0.3),
                div_factor=div_factor,
                final_div_factor=final_div_factor,
                lr_scale=listed_rates(plan, split, one.get("lrs"), start, epoch),
            )
        )
    return tuple(phases)


def _epochs(ordered: Sequence[_Milestone], number: int) -> float | None:
    """How many epochs a milestone lasts; None where it is the last and says nothing."""
    epoch, one = ordered[number]
    until_next = ordered[number + 1][0] - epoch if number + 1 < len(ordered) else None
    duration = one.get("duration", until_next)
    if until_next is not None and duration != until_next:
        raise ConfigError(
            f"The milestone of epoch {epoch} lasts {duration!r} epochs, and the next one begins "
            f"{counted(until_next, 'epoch')} "
            "later."
        )
    return None if duration is None else positive(f"duration of milestone {epoch}", duration)


def _sorted(given: Any) -> list[_Milestone]:
    """Milestones by epoch, the first of them at epoch 1."""
    if not isinstance(given, Mapping) or not given or not all(isinstance(one, Mapping) for one in given.values()):
        raise ConfigError(f"milestones maps epochs to mappings of {listing(_KEYS)}; got {given!r}.")
    ordered = sorted(((_epoch(epoch), one) for epoch, one in given.items()), key=lambda milestone: milestone[0])
    for _, one in ordered:
        for key in one:
            if key not in _KEYS:
                raise ConfigError(f"A milestone has {listing(_KEYS)}, not {key!r}.{did_you_mean(key, _KEYS)}")
    if ordered[0][0] != 1 or any(a == b for (a, _), (b, _) in pairwise(ordered)):
        epochs = [epoch for epoch, _ in ordered]
        raise ConfigError(f"Milestones begin at epoch 1, each at its own; got epochs {epochs}.")
    return ordered


def _epoch(key: Any) -> int:
    return whole("The epoch of a milestone", int(key) if isinstance(key, str) and key.isdigit() else key)
