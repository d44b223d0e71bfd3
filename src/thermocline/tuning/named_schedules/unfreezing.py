"""Schedules that thaw from the top: each function only writes phases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from thermocline.errors import ConfigError, did_you_mean, listing
from thermocline.tuning.schedule import layer_groups as ladder
from thermocline.tuning.schedule.phases import Phase, Plateau
from thermocline.tuning.values import not_negative, positive, whole

if TYPE_CHECKING:
    from thermocline.tuning.plan.layer_plan import LayerPlan

Phases = tuple[Phase, ...]
_MILESTONE = ("freeze_to", "duration", "pct_start", "lrs")


def template(plan: LayerPlan, **changes: Any) -> Phase:
    """Return a phase with the schedule that the plan came with."""
    first = plan.phases[0]
    phase = Phase(schedule=first.schedule, warmup=first.warmup, final=first.final)
    return replace(phase, **changes)


def freeze_to(plan: LayerPlan, n: int = -1, *, lr: Any = None, groups: Any = None) -> Phases:
    """Train the layer groups from the n-th on, as fastai's `Learner.freeze_to` (Howard and Gugger 2020).

    Args:
        plan: The plan.
        n: Negative ones count from the end: -1 is the head alone. (fastai keeps training the BatchNorms of frozen
            groups; here what is frozen rests.)
        lr: The rates of the groups: one number for all; a pair `[low, high]` for fastai's `slice(low, high)`, which
            is geometric from the first group to the last; `[null, high]` for `slice(high)`, which gives the last
            group `high` and all others a tenth of it. By default the plan's own rates.
        groups: See `ladder.groups`.
    """
    split = ladder.groups(plan, groups)
    start = _first_group(n, len(split))
    scales = _scales(plan, split, lr, start)
    name = "all" if start == 0 else "head" if start == len(split) - 1 else f"from group {start + 1} of {len(split)}"
    trains = ladder.trains(plan, ladder.joined(plan, split[start:]))
    return (template(plan, name=name, trains=trains, lr_scale=scales),)


def fine_tune(
    plan: LayerPlan,
    epochs: float | None = None,
    *,
    freeze_epochs: float = 1,
    lr_mult: float = 100.0,
    pct_start: float = 0.3,
    div: float = 5.0,
    groups: Any = None,
) -> Phases:
    """Write fastai's `Learner.fine_tune` (Howard and Gugger 2020): the head alone, then everything.

    First one cycle with `pct_start` .99 at the base rate for the head; then, at half the base rate, one cycle over
    rates that are geometric from the first group, at `1 / lr_mult` of it, to the last. One cycle starts at 1/25 of
    the rate (`div` in the second phase), ends at 1e-5 of it, and moves the momentum from .95 to .85 and back.

    Args:
        plan: The plan; its base rate is fastai's `base_lr`.
        epochs: Of the second phase; by default the rest of the run.
        freeze_epochs: Of the first phase.
        lr_mult: How much slower the first group is than the last.
        pct_start: Of the second phase.
        div: The second phase starts at its rate divided by this.
        groups: See `ladder.groups`.
    """
    split = ladder.groups(plan, groups)
    ratios = even_multiples(1.0 / positive("lr_mult", lr_mult), 1.0, len(split))
    head = Phase(
        "head",
        ladder.trains(plan, split[-1]),
        "one_cycle",
        epochs=freeze_epochs,
        pct_start=0.99,
        final_div_factor=1e5 / 25,
        lr_scale=ladder.scales(plan, [(split[-1], 1.0)]),
    )
    tuned = Phase(
        "all",
        schedule="one_cycle",
        epochs=epochs,
        pct_start=pct_start,
        div_factor=div,
        final_div_factor=1e5 / positive("div", div),
        lr_scale=ladder.scales(plan, [(own, 0.5 * ratio) for own, ratio in zip(split, ratios, strict=True)]),
    )
    return (head, tuned)


def milestones(
    plan: LayerPlan,
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
            milestone), `pct_start` (of one cycle, .3 by default), `lrs` (the highest rate of every group, absolute; by
            default the plan's own).
        groups: See `ladder.groups`.
        div_factor: Every cycle starts at its rate divided by this,
        final_div_factor: and ends at its start divided by this.
    """
    split = ladder.groups(plan, groups)
    steps = _sorted_milestones(milestones)
    phases = []
    for number, (epoch, one) in enumerate(steps):
        upto = steps[number + 1][0] - epoch if number + 1 < len(steps) else None
        duration = one.get("duration", upto)
        if upto is not None and duration != upto:
            raise ConfigError(
                f"The milestone of epoch {epoch} lasts {duration!r} epochs, and the next one begins {upto} epochs "
                "later."
            )
        start = _first_group(one.get("freeze_to", 0), len(split))
        phases.append(
            Phase(
                f"epoch {epoch}",
                ladder.trains(plan, ladder.joined(plan, split[start:])),
                "one_cycle",
                epochs=None if duration is None else positive(f"duration of milestone {epoch}", duration),
                pct_start=one.get("pct_start", 0.3),
                div_factor=div_factor,
                final_div_factor=final_div_factor,
                lr_scale=_group_rates(plan, split, one.get("lrs"), start, epoch),
            )
        )
    return tuple(phases)


def gradual_unfreeze(
    plan: LayerPlan,
    every: float | str | None = None,
    *,
    factor: float | None = 2.6,
    patience: int = 1,
    min_delta: float = 0.0,
    thaw_warmup: float | int = 0.1,
    groups: Any = None,
) -> Phases:
    """Thaw one layer after the other from the top, each slower than the one above: ULMFiT (Howard and Ruder 2018).

    The schedule runs over the whole run; what thaws warms up for a short while.

    Args:
        plan: The plan.
        every: Epochs between thaws; `plateau`, which thaws when the validation score stops rising, at the latest at
            even shares of the run (as the finetuning-scheduler does); by default at even shares of the run.
        factor: Each layer's rate is that of the one above divided by this; None leaves the plan's own rates.
        patience: Of the plateau, in validations.
        min_delta: Of the plateau.
        thaw_warmup: For how long what thaws warms up: a fraction of the phase, or steps.
        groups: Thaw these in place of single layers; see `ladder.groups`.
    """
    if isinstance(every, str) and every != "plateau":
        raise ConfigError(f"every takes a number of epochs, 'plateau' or null; got {every!r}.")
    split = [*ladder.rungs(plan), ladder.top(plan)] if groups is None else ladder.groups(plan, groups)
    pinned = {layer.label for layer in plan.layers if layer.frozen}
    depth = list(enumerate([unit for unit in split if unit][::-1]))  # of the whole architecture, whatever is pinned
    units = [(steps, unit) for steps, unit in depth if not set(unit) <= pinned]
    phases = []
    for number, (steps, unit) in enumerate(units):
        thawed = units[: number + 1]
        rates = [] if factor is None else [(own, positive("factor", factor) ** -below) for below, own in thawed]
        phases.append(
            template(
                plan,
                name="head" if steps == 0 else f"+ {_called(plan, unit)}",
                trains=ladder.trains(plan, ladder.joined(plan, [own for _, own in thawed])),
                over="run",
                lr_scale=ladder.scales(plan, rates),
                thaw_warmup=thaw_warmup,
                **_thaws(every, number + 1, len(units), Plateau(patience, min_delta)),
            )
        )
    return tuple(phases)


def _thaws(every: float | str | None, number: int, count: int, plateau: Plateau) -> dict[str, Any]:
    """When the n-th of so many phases ends; the last one does not."""
    if number == count:
        return {}
    if every is None:
        return {"fraction": number / count}
    return {"fraction": number / count, "plateau": plateau} if every == "plateau" else {"epochs": every}


def lp_ft(plan: LayerPlan, probe_epochs: float = 1) -> Phases:
    """Train the head alone on frozen features, then everything from there: LP-FT (Kumar et al. 2022).

    Args:
        plan: The plan.
        probe_epochs: Epochs of the first phase. With 0 there is none: the probe that is folded into the head before
            training (`optim.head_init=probe`) takes its place.
    """
    tuned = template(plan, name="all")
    if not_negative("probe_epochs", probe_epochs) == 0:
        return (tuned,)
    return (template(plan, name="probe", trains=ladder.trains(plan, ladder.top(plan)), epochs=probe_epochs), tuned)


def even_multiples(low: float, high: float, n: int) -> list[float]:
    """Return n numbers from low to high, each the same multiple of the one before (fastai's `even_mults`)."""
    return [high] if n == 1 else [low * (high / low) ** (i / (n - 1)) for i in range(n)]


def _first_group(n: Any, count: int) -> int:
    if isinstance(n, bool) or not isinstance(n, int) or not -count <= n < count:
        raise ConfigError(f"freeze_to takes a whole number from {-count} to {count - 1} for {count} groups; got {n!r}.")
    return n % count


def _scales(plan: LayerPlan, split: Sequence[ladder.Labels], lr: Any, start: int) -> dict[str, float]:
    if lr is None:
        return {}
    count = len(split)
    if not isinstance(lr, (list, tuple)):
        rates = [positive("lr", lr)] * count
    elif len(lr) != 2:
        raise ConfigError(f"lr takes one number, [low, high] or [null, high]; got {lr!r}.")
    elif lr[0] is None:
        rates = [positive("lr", lr[1]) / 10] * (count - 1) + [positive("lr", lr[1])]
    else:
        rates = even_multiples(positive("lr", lr[0]), positive("lr", lr[1]), count)
    return ladder.scales(plan, [(own, rate / plan.lr) for own, rate in list(zip(split, rates, strict=True))[start:]])


def _sorted_milestones(given: Any) -> list[tuple[int, Mapping[str, Any]]]:
    """Milestones by epoch, the first of them at epoch 1."""
    if not isinstance(given, Mapping) or not given or not all(isinstance(one, Mapping) for one in given.values()):
        raise ConfigError(f"milestones maps epochs to mappings of {listing(_MILESTONE)}; got {given!r}.")
    steps = sorted((_epoch(epoch), one) for epoch, one in given.items())
    for _, one in steps:
        for key in one:
            if key not in _MILESTONE:
                raise ConfigError(f"A milestone has {listing(_MILESTONE)}, not {key!r}.{did_you_mean(key, _MILESTONE)}")
    if steps[0][0] != 1 or any(a == b for (a, _), (b, _) in pairwise(steps)):
        raise ConfigError(f"Milestones begin at epoch 1, each at its own; got epochs {[epoch for epoch, _ in steps]}.")
    return steps


def _epoch(key: Any) -> int:
    return whole("The epoch of a milestone", int(key) if isinstance(key, str) and key.isdigit() else key)


def _group_rates(
    plan: LayerPlan, split: Sequence[ladder.Labels], rates: Any, start: int, epoch: int
) -> dict[str, float]:
    if rates is None:
        return {}
    if not isinstance(rates, (list, tuple)) or len(rates) != len(split):
        raise ConfigError(f"lrs of milestone {epoch} has one rate for each of the {len(split)} groups; got {rates!r}.")
    numbers = [not_negative("lrs", rate) / plan.lr for rate in rates]
    return ladder.scales(plan, list(zip(split, numbers, strict=True))[start:])


def _called(plan: LayerPlan, unit: ladder.Labels) -> str:
    return ", ".join(dict.fromkeys(one.rpartition("/")[2] for one in ladder.short(plan, unit)))
