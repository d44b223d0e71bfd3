"""Which layers the phases of a plan mean, at which scales and schedules: selectors resolved, layers drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TypeVar

import numpy as np

from thermocline.errors import ConfigError, SelectorError, counted
from thermocline.tuning.layers.layer_map import LayerMap
from thermocline.tuning.layers.selectors import select
from thermocline.tuning.schedule.phases import EVERYTHING, SCHEDULE, WARMUP, Draw, Phase

Value = TypeVar("Value", float, int, str)


@dataclass(frozen=True)
class PhaseLayers:
    """The layers of one phase; layers that are frozen throughout, or have a rate of 0 in it, are left out.

    Attributes:
        always: The labels of the layers that train throughout it.
        pool: The labels of the layers that are drawn from.
        scales: By label, what a layer's rate is of the base rate, before the schedule.
        courses: The phase once for each of its schedules, with the warm-up that goes with it.
        course: By label, the index of its course; 0 for labels that are not there.
    """

    always: frozenset[str]
    pool: tuple[str, ...]
    scales: Mapping[str, float]
    courses: tuple[Phase, ...]
    course: Mapping[str, int] = field(default_factory=dict)


def phase_layers(phase: Phase, layer_map: LayerMap, scales: Mapping[str, float], pinned: frozenset[str]) -> PhaseLayers:
    """Return the layers of a phase.

    Args:
        phase: The phase.
        layer_map: The layers that its selectors are about.
        scales: The plan's own scale of each layer, by label.
        pinned: The labels of the layers that are frozen whatever the phase says.

    Raises:
        SelectorError: A selector matches nothing.
        ConfigError: A draw asks for more layers than there are, or two numbers are given for one layer.
    """
    where = f"phase {phase.name!r}"
    if phase.trains == EVERYTHING:
        labels = layer_map.labels
    else:
        items = (phase.trains,) if isinstance(phase.trains, str) else phase.trains
        labels = resolved(layer_map, items, f"{where}, trains")
    own = _scales(phase, layer_map, scales)
    frozen = pinned.union(label for label, scale in own.items() if scale == 0)  # a rate of 0 is freezing
    always = frozenset(labels) - frozen
    pool = () if phase.draw is None else _pool(phase.draw, layer_map, frozen | always, where)
    return PhaseLayers(always, pool, own, *_courses(phase, layer_map, always.union(pool)))


def resolved(layer_map: LayerMap, items: Sequence[str | int], where: str) -> tuple[str, ...]:
    """Return the labels that selectors mean; a whole label means its layer, whatever else it would match.

    Args:
        layer_map: The layers.
        items: The selectors.
        where: What holds them, for the error.

    Raises:
        SelectorError: One of them matches nothing.
    """
    exact = {one for one in items if one in layer_map.labels}
    others = [one for one in items if one not in exact]
    try:
        chosen = exact | set(select(layer_map, others))
    except SelectorError as error:
        raise SelectorError(f"{where}: {error}") from None
    return tuple(label for label in layer_map.labels if label in chosen)


def _pool(draw: Draw, layer_map: LayerMap, taken: frozenset[str], where: str) -> tuple[str, ...]:
    """The layers that a draw chooses from: those that are not `taken`."""
    among = resolved(layer_map, draw.among, f"{where}, draw.among")
    pool = tuple(label for label in among if label not in taken)
    if pool and draw.n > len(pool):
        raise ConfigError(f"{where} draws {counted(draw.n, 'layer')}, but there are only {len(pool)} to draw from.")
    return pool


def drawn(draw: Draw, pool: Sequence[str], number: int) -> frozenset[str]:
    """Return the layers of a draw: a function of the seed and the draw's number.

    Args:
        draw: How many are drawn, and the seed.
        pool: The layers to draw from.
        number: How many draws of the phase came before.
    """
    return _drawn(draw.n, draw.seed, tuple(pool), number) if pool else frozenset()


@lru_cache(maxsize=256)
def _drawn(n: int, seed: int, pool: tuple[str, ...], number: int) -> frozenset[str]:
    chosen = np.random.default_rng([seed, number, 0x115A]).choice(len(pool), size=n, replace=False)
    return frozenset(pool[int(index)] for index in chosen)


def _scales(phase: Phase, layer_map: LayerMap, scales: Mapping[str, float]) -> dict[str, float]:
    """What each layer's rate is of the base rate in a phase, before the schedule."""
    where = f"phase {phase.name!r}"
    own = _by_label(layer_map, phase.lr_scale, f"{where}, lr_scale")
    mults: dict[str, float] = {}
    rest = 1.0
    if isinstance(phase.lr_mult, Mapping):
        mults = _by_label(layer_map, phase.lr_mult, f"{where}, lr_mult")
    else:
        rest = phase.lr_mult
    return {label: own.get(label, scale) * mults.get(label, rest) for label, scale in scales.items()}


def _courses(phase: Phase, layer_map: LayerMap, trained: frozenset[str]) -> tuple[tuple[Phase, ...], dict[str, int]]:
    """The phase once for each schedule and warm-up that trained layers have, and the index of each such layer."""
    if not phase.is_mixed:
        return (phase,), {}
    where = f"phase {phase.name!r}"
    schedules = phase.schedule if isinstance(phase.schedule, Mapping) else {EVERYTHING: phase.schedule}
    warmups = phase.warmup if isinstance(phase.warmup, Mapping) else {EVERYTHING: phase.warmup}
    by_schedule = _by_label(layer_map, {EVERYTHING: SCHEDULE, **schedules}, f"{where}, schedule")
    by_warmup = _by_label(layer_map, {EVERYTHING: WARMUP, **warmups}, f"{where}, warmup")
    own = {label: (by_schedule[label], by_warmup[label]) for label in layer_map.labels}
    kinds = list(dict.fromkeys(kind for label, kind in own.items() if label in trained or not trained))
    made = tuple(replace(phase, schedule=schedule, warmup=warmup) for schedule, warmup in kinds)
    return made, {label: kinds.index(kind) for label, kind in own.items() if kind in kinds}


def _by_label(layer_map: LayerMap, given: Mapping[str, Value], where: str) -> dict[str, Value]:
    """Values by label; `*` is for what no other selector names."""
    out: dict[str, Value] = {}
    source: dict[str, str] = {}
    for selector, number in given.items():
        if selector == EVERYTHING:
            continue
        for label in resolved(layer_map, (selector,), where):
            if label in out and out[label] != number:
                raise ConfigError(
                    f"{where}: {source[label]!r} gives {label!r} {_shown(out[label])}, and {selector!r} gives it "
                    f"{_shown(number)}. A layer takes one {'schedule' if isinstance(number, str) else 'number'}; "
                    "let the selectors not overlap."
                )
            out[label], source[label] = number, selector
    if EVERYTHING in given:
        out = {label: out.get(label, given[EVERYTHING]) for label in layer_map.labels}
    return out


def _shown(value: float | str) -> str:
    return repr(value) if isinstance(value, str) else f"{value:g}"
