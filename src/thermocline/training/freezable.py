"""Which layers of backbones may be frozen besides what a plan freezes, which are pretrained, and which have a rate."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TypeAlias

from thermocline.contracts.problem import Assembly
from thermocline.efficiency.costs.estimate_plan import trained_sets
from thermocline.errors import LayerMapError, SelectorError
from thermocline.tuning.layers.layer_map import LayerMap
from thermocline.tuning.layers.selectors import select
from thermocline.tuning.plan.layer_plan import LayerPlan
from thermocline.tuning.plan.layer_rates import layer_rates

Selector: TypeAlias = int | str


def deepest(layer_map: LayerMap) -> int:
    """Return the number of stem and blocks of the backbone that has the most."""
    return max(Counter(layer.tower for layer in layer_map if layer.role in ("stem", "block")).values(), default=0)


def pretrained_blocks(layer_map: LayerMap, tower: str) -> int:
    """Return how many stem and block layers of a tower are pretrained."""
    layers = (layer for layer in layer_map if layer.tower == tower and layer.pretrained)
    return sum(layer.role in ("stem", "block") for layer in layers)


def rates_given(assembly: Assembly) -> dict[str, float]:
    """Return the rates that options give to layers themselves (`optim.layer_lr`), by label; 0 where they are frozen."""
    given = assembly.config.optim.layer_lr
    return {} if given is None else layer_rates(assembly.layer_map, given)


def rated_backbones(assembly: Assembly) -> frozenset[str]:
    """Return the labels of pretrained stems and blocks to which options give rates, those of 0 included."""
    rates = rates_given(assembly)
    layers = (layer for layer in assembly.layer_map if layer.pretrained and layer.role in ("stem", "block"))
    return frozenset(layer.label for layer in layers if layer.label in rates)


def freezable(
    plan: LayerPlan, layer_map: LayerMap, selectors: Iterable[Selector]
) -> Iterator[tuple[Selector, frozenset[str]]]:
    """Yield those of some selectors that match layers and leave others that train in every phase, with the labels.

    Args:
        plan: The plan.
        layer_map: Its layers.
        selectors: As `model.frozen_layers` takes them; a number of first layers, or a text.
    """
    for selector in selectors:
        try:
            frozen = frozenset(select(layer_map, selector))
        except (SelectorError, LayerMapError):  # no such layers, or in no known order
            continue
        sets = (trains for phase in range(len(plan.phases)) for trains in trained_sets(plan, phase))
        if frozen and all(trains - frozen for trains in sets):
            yield selector, frozen
