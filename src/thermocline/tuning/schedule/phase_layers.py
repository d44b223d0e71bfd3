"""Which layers the phases of a plan mean: selectors resolved, draws drawn, scales joined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from thermocline.errors import ConfigError, SelectorError
from thermocline.tuning.layers.selectors import select
from thermocline.tuning.schedule.phases import EVERYTHING, Draw, Phase

if TYPE_CHECKING:
    from thermocline.tuning.layers.layer_map import LayerMap
    from thermocline.tuning.plan.layer_plan import LayerPlan


def resolved(layer_map: LayerMap, items: Sequence[str | int], where: str) -> tuple[str, ...]:
    """Return the labels that selectors mean; a whole label means its layer, whatever else it would match.

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


def trained_layers(plan: LayerPlan) -> tuple[list[frozenset[str]], list[tuple[str, ...]]]:
    """Return per phase the layers that train throughout it, and those that are drawn from; pinned ones are neither.

    Raises:
        SelectorError: A selector matches nothing.
        ConfigError: A draw asks for more layers than there are.
    """
    layer_map = plan.layer_map
    pinned = {layer.label for layer in plan.layers if layer.frozen}
    always, pools = [], []
    for phase in plan.phases:
        where = f"phase {phase.name!r}"
        labels = plan.labels if phase.trains == EVERYTHING else resolved(layer_map, _items(phase), f"{where}, trains")
        held = frozenset(labels) - pinned
        always.append(held)
        pool: tuple[str, ...] = ()
        if phase.draw is not None:
            among = resolved(layer_map, phase.draw.among, f"{where}, draw.among")
            pool = tuple(label for label in among if label not in pinned and label not in held)
            if pool and phase.draw.n > len(pool):
                raise ConfigError(f"{where} draws {phase.draw.n} layers, but there are only {len(pool)} to draw from.")
        pools.append(pool)
    return always, pools


def _items(phase: Phase) -> tuple[str | int, ...]:
    return (phase.trains,) if isinstance(phase.trains, str) else phase.trains


def drawn(draw: Draw, pool: Sequence[str], number: int) -> frozenset[str]:
    """Return the layers of a draw: a function of the seed and the draw's number."""
    if not pool:
        return frozenset()
    chosen = np.random.default_rng([draw.seed, number, 0x115A]).choice(len(pool), size=draw.n, replace=False)
    return frozenset(pool[int(index)] for index in chosen)


def layer_scales(plan: LayerPlan) -> list[dict[str, float]]:
    """Return per phase what each layer's rate is of the base rate, before the schedule.

    Raises:
        SelectorError: A selector matches nothing.
        ConfigError: Two numbers for one layer.
    """
    layer_map = plan.layer_map
    out = []
    for phase in plan.phases:
        scale = _numbers(layer_map, phase.lr_scale, f"phase {phase.name!r}, lr_scale")
        mults: dict[str, float] = {}
        rest = 1.0
        if isinstance(phase.lr_mult, Mapping):
            mults = _numbers(layer_map, phase.lr_mult, f"phase {phase.name!r}, lr_mult")
        else:
            rest = phase.lr_mult
        out.append(
            {
                layer.label: scale.get(layer.label, layer.lr_scale) * mults.get(layer.label, rest)
                for layer in plan.layers
            }
        )
    return out


def _numbers(layer_map: LayerMap, given: Mapping[str, float], where: str) -> dict[str, float]:
    """Numbers by label; `*` is for what no other selector names."""
    out: dict[str, float] = {}
    source: dict[str, str] = {}
    for selector, number in given.items():
        if selector == EVERYTHING:
            continue
        for label in resolved(layer_map, (selector,), where):
            if label in out and out[label] != number:
                raise ConfigError(
                    f"{where}: {source[label]!r} gives {label!r} {out[label]:g}, and {selector!r} gives it {number:g}. "
                    "A layer takes one number; let the selectors not overlap."
                )
            out[label], source[label] = number, selector
    if EVERYTHING in given:
        out = {label: out.get(label, given[EVERYTHING]) for label in layer_map.labels}
    return out
