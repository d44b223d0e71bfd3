"""Schedules that unfreeze layers from the head down: each function only writes phases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from thermocline.errors import ConfigError
from thermocline.tuning.named_schedules import layer_groups
from thermocline.tuning.named_schedules.group_rates import even_multiples, first_group, spread_rates
from thermocline.tuning.named_schedules.layer_groups import Labels
from thermocline.tuning.named_schedules.phase_template import Phases, template
from thermocline.tuning.number_checks import not_negative, positive
from thermocline.tuning.plan.decisions import Decisions
from thermocline.tuning.schedule.phases import Phase, Plateau

#: Layers that are unfrozen at once, and their distance from the top.
_Unit = tuple[int, Labels]
_ULMFIT, _LEAST_SHARE = 2.6, 1e-3
"""The factor of Howard and Ruder 2018, and the least share of the head's rate that `auto` leaves to a layer."""


def freeze_to(plan: Decisions, n: int = -1, *, lr: Any = None, groups: Any = None) -> Phases:
    """Train the layer groups from the n-th on, as fastai's `Learner.freeze_to` (Howard and Gugger 2020).

    Args:
        plan: The plan.
        n: Negative ones count from the end: -1 is the head alone. (fastai keeps training the BatchNorms of frozen
            groups; here a frozen group is frozen as a whole.)
        lr: The rates of the groups: one number for all; a pair `[low, high]` for fastai's `slice(low, high)`, which
            is geometric from the first group to the last; `[null, high]` for `slice(high)`, which gives the last
            group `high` and all others a tenth of it. By default the plan's own rates.
        groups: See `layer_groups.split_layers`.
    """
    split = layer_groups.split_layers(plan, groups)
    start = first_group(n, len(split))
    name = "all" if start == 0 else "head" if start == len(split) - 1 else f"from group {start + 1} of {len(split)}"
    trains = layer_groups.trains(plan, layer_groups.joined(plan, split[start:]))
    return (template(plan, name=name, trains=trains, lr_scale=spread_rates(plan, split, lr, start)),)


def fine_tune(  # noqa: PLR0913 - public API
    plan: Decisions,
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
        groups: See `layer_groups.split_layers`.
    """
    split = layer_groups.split_layers(plan, groups)
    ratios = even_multiples(1.0 / positive("lr_mult", lr_mult), 1.0, len(split))
    halved = [(own, 0.5 * ratio) for own, ratio in zip(split, ratios, strict=True)]
    cycle = Phase(
        "all", "*", "one_cycle", pct_start=pct_start, div_factor=div, final_div_factor=1e5 / positive("div", div)
    )
    everything = replace(cycle, epochs=epochs, lr_scale=layer_groups.scales(plan, halved))
    return (_one_cycle_head(plan, split[-1], freeze_epochs), everything)


def _one_cycle_head(plan: Decisions, head: Labels, epochs: float) -> Phase:
    """The first phase of `fine_tune`."""
    return Phase(
        "head",
        layer_groups.trains(plan, head),
        "one_cycle",
        epochs=epochs,
        pct_start=0.99,
        final_div_factor=1e5 / 25,
        lr_scale=layer_groups.scales(plan, [(head, 1.0)]),
    )


def gradual_unfreeze(  # noqa: PLR0913 - public API
    plan: Decisions,
    every: float | str | None = None,
    *,
    factor: float | str | None = "auto",
    patience: int = 1,
    min_delta: float = 0.0,
    thaw_warmup: float | int = 0.1,
    groups: Any = None,
) -> Phases:
    """Unfreeze layers one by one from the head down, each slower than the one above: ULMFiT (Howard and Ruder 2018).

    The schedule runs over the whole run; the rate of newly unfrozen layers rises for a short while.

    Args:
        plan: The plan.
        every: Epochs after which the next layer is unfrozen; `plateau`, which unfreezes it when the validation score
            stops rising, at the latest at even shares of the run (as the finetuning-scheduler does); by default at
            even shares of the run.
        factor: Each layer's rate is that of the one above divided by this; None keeps the plan's own rates. `auto` is
            ULMFiT's 2.6, which was found for a model of five layers, and in models of more than eight less: such that
            the lowest has a thousandth of the head's rate.
        patience: Of the plateau, in validations.
        min_delta: Of the plateau.
        thaw_warmup: For how long the rate of newly unfrozen layers rises: a fraction of the phase, or steps.
        groups: Unfreeze these in place of single layers; see `layer_groups.split_layers`.
    """
    if isinstance(every, str) and every != "plateau":
        raise ConfigError(f"every takes a number of epochs, 'plateau' or null; got {every!r}.")
    split = _from_top(plan, groups)
    units, plateau, ratio = _unfrozen(plan, split), Plateau(patience, min_delta), _ratio(factor, len(split) - 1)
    return tuple(
        replace(
            _with_units(plan, units[:number], ratio),
            thaw_warmup=thaw_warmup,
            **_end(every, number, len(units), plateau),
        )
        for number in range(1, len(units) + 1)
    )


def _with_units(plan: Decisions, units: Sequence[_Unit], factor: float | None) -> Phase:
    """A phase in which these units train, the last of them newly unfrozen."""
    rates = [] if factor is None else [(own, factor**-steps) for steps, own in units]
    steps, last = units[-1]
    return template(
        plan,
        name="head" if steps == 0 else f"+ {_short_names(plan, last)}",
        trains=layer_groups.trains(plan, layer_groups.joined(plan, [own for _, own in units])),
        over="run",
        lr_scale=layer_groups.scales(plan, rates),
    )


def _ratio(factor: Any, steps: int) -> float | None:
    """The factor between layers, where the lowest lies so many steps below the head."""
    if factor == "auto":
        return min(_ULMFIT, float(_LEAST_SHARE ** (-1 / max(steps, 1))))
    if isinstance(factor, str):
        raise ConfigError(f"factor takes a number above 0, 'auto' or null; got {factor!r}.")
    return None if factor is None else positive("factor", factor)


def _from_top(plan: Decisions, groups: Any) -> list[Labels]:
    """The layers in the whole architecture that are unfrozen at once, head first."""
    if groups is None:
        split: Sequence[Labels] = [*layer_groups.depth_groups(plan), layer_groups.top(plan)]
    else:
        split = layer_groups.split_layers(plan, groups)
    return [unit for unit in split if unit][::-1]


def _unfrozen(plan: Decisions, split: Sequence[Labels]) -> list[_Unit]:
    """What is unfrozen one after the other, each with its distance from the head; not what is pinned frozen."""
    pinned = {layer.label for layer in plan.layers if layer.pinned}
    return [(steps, unit) for steps, unit in enumerate(split) if not set(unit) <= pinned]


def _end(every: float | str | None, number: int, count: int, plateau: Plateau) -> dict[str, Any]:
    """The end of the n-th of so many phases; the last one has none."""
    if number == count:
        return {}
    if every is None:
        return {"fraction": number / count}
    return {"fraction": number / count, "plateau": plateau} if every == "plateau" else {"epochs": every}


def _short_names(plan: Decisions, unit: Labels) -> str:
    """The names of layers without their towers, each once."""
    selectors = layer_groups.short_selectors(plan, unit)
    return ", ".join(dict.fromkeys(one.rpartition("/")[2] for one in selectors))


def lp_ft(plan: Decisions, probe_epochs: float = 1) -> Phases:
    """Train the head alone on frozen features, then everything from there: LP-FT (Kumar et al. 2022).

    Args:
        plan: The plan.
        probe_epochs: Epochs of the first phase. With 0 there is none: the probe that is folded into the head before
            training (`optim.head_init=probe`) replaces it.
    """
    tuned = template(plan, name="all")
    if not_negative("probe_epochs", probe_epochs) == 0:
        return (tuned,)
    head = layer_groups.trains(plan, layer_groups.top(plan))
    return (template(plan, name="probe", trains=head, epochs=probe_epochs), tuned)
