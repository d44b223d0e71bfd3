"""Learning rates that are given for layers themselves, by selector."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from thermocline.errors import ConfigError, listing
from thermocline.tuning.layers.layer_map import LayerMap
from thermocline.tuning.number_checks import not_negative
from thermocline.tuning.plan.plan_layer import PlanLayer
from thermocline.tuning.schedule.phase_layers import resolved
from thermocline.tuning.schedule.phases import EVERYTHING

IDLE = "no effect: the rate of"
"""How a warning about a rate that no layer follows begins."""


def checked_rates(given: Any, where: str) -> dict[str | int, float]:
    """Return rates by selector, all of them numbers of at least 0.

    Args:
        given: A mapping; whole numbers as keys are counts, as in `frozen_layers`.
        where: What holds it, for the error.

    Raises:
        ConfigError: No such mapping.
    """
    keys = list(given) if isinstance(given, Mapping) else []
    if not keys or any(isinstance(key, bool) or not isinstance(key, (str, int)) for key in keys):
        raise ConfigError(
            f"{where} has rates by layer selector, such as {{'backbone': 1e-5, 'head': 1e-3}}; got {given!r}."
        )
    return {key: not_negative(where, rate, repr(key)) for key, rate in given.items()}


def split_base(given: Mapping[str | int, float], standard: float) -> tuple[float, dict[str | int, float]]:
    """Return the base rate, which is that of `"*"`, and the rates of the other selectors.

    Args:
        given: Rates by selector.
        standard: The base rate where there is no `"*"`.
    """
    own = checked_rates(given, "lr")
    return own.pop(EVERYTHING, standard), own


def layer_rates(layer_map: LayerMap, given: Mapping[str | int, float]) -> dict[str, float]:
    """Return the rates that selectors give to layers, by label. Of two that name one layer the later one counts.

    Args:
        layer_map: The layers.
        given: Rates by selector.

    Raises:
        SelectorError: A selector matches nothing.
        ConfigError: All that a selector names is named by later ones too, so that it has no effect.
    """
    source: dict[str, str | int] = {}
    for selector in given:
        source |= dict.fromkeys(resolved(layer_map, (selector,), "lr"), selector)
    lost = [selector for selector in given if selector not in source.values()]
    if lost:
        raise ConfigError(
            f"lr: {listing(lost)} {'has' if len(lost) == 1 else 'have'} no effect: of two selectors that name a layer "
            f"the later one counts, and all these layers are named later. Give wide selectors first: {listing(given)} "
            "is the order now."
        )
    return {label: given[selector] for label, selector in source.items()}


def idle_rates(layers: Sequence[PlanLayer], layer_map: LayerMap, given: Mapping[str | int, float]) -> Iterator[str]:
    """Yield a warning for each rate above 0 whose layers are all frozen.

    Args:
        layers: The layers of the plan.
        layer_map: The same layers.
        given: Rates by selector.
    """
    frozen = {layer.label for layer in layers if layer.pinned}
    adapters = any(layer.role == "adapter" and not layer.pinned for layer in layers)
    for selector, rate in given.items():
        if rate and frozen.issuperset(resolved(layer_map, (selector,), "lr")):
            hint = ". What model.peft trains is 'adapter'" if adapters else ""
            yield f"{IDLE} {selector!r}, {rate:g}, is of layers that are all frozen{hint}"


def scale_for(rate: float, base: float) -> float:
    """Return the scale that makes a rate of the base rate: of the nearest three numbers one that gives just it."""
    near = rate / base
    options = (near, math.nextafter(near, math.inf), math.nextafter(near, 0.0))
    return next((scale for scale in options if base * scale == rate), near)
