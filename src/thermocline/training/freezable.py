"""Which selectors of layers may be frozen besides what a plan freezes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TypeAlias

from thermocline.efficiency.costs.estimate_plan import trained_sets
from thermocline.errors import LayerMapError, SelectorError
from thermocline.tuning.layers.layer_map import LayerMap
from thermocline.tuning.layers.selectors import select
from thermocline.tuning.plan.layer_plan import LayerPlan

Selector: TypeAlias = int | str


def deepest(layer_map: LayerMap) -> int:
    """Return the number of stem and blocks of the backbone that has the most."""
    return max(Counter(layer.tower for layer in layer_map if layer.role in ("stem", "block")).values(), default=0)


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
