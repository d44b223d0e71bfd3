"""The decisions of a new plan: a scale, a weight decay and a frozen state for each layer of a map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from thermocline.errors import ConfigError, SelectorError, listing
from thermocline.tuning.layers.layer_map import LayerMap
from thermocline.tuning.layers.selectors import select
from thermocline.tuning.number_checks import fraction, not_negative, positive
from thermocline.tuning.plan.layer_rates import IDLE, layer_rates, scale_for
from thermocline.tuning.plan.lr_choice import canonical_choice, scales_for
from thermocline.tuning.plan.plan_layer import PlanLayer, planned

_FROZEN_NEW = "frozen although newly initialised:"


@dataclass(frozen=True)
class PlanRequest:
    """What `LayerPlan.build` takes about layers; attributes are described there."""

    lr: float
    layer_lr: Mapping[str | int, float]
    lr_choice: str
    lr_decay: float
    lr_min_scale: float
    lr_mult: float
    weight_decay: float
    frozen_layers: Any
    tower_frozen_layers: Mapping[str, Any] | None

    def __post_init__(self) -> None:
        positive("lr", self.lr)
        if positive("lr_decay", self.lr_decay) > 1:
            raise ConfigError(f"lr_decay must lie in (0, 1]; got {self.lr_decay!r}. 1 is no decay, 0.9 a common value.")
        fraction("lr_min_scale", self.lr_min_scale)
        positive("lr_mult", self.lr_mult)
        not_negative("weight_decay", self.weight_decay)
        canonical_choice(self.lr_choice)


def planned_layers(layer_map: LayerMap, request: PlanRequest) -> tuple[PlanLayer, ...]:
    """Return what is decided about each layer of a map.

    Raises:
        SelectorError: A selector matches nothing.
        ConfigError: A selector of a rate has no effect.
        LayerMapError: The order of the layers is needed and not known.
    """
    scales = scales_for(
        layer_map,
        request.lr_choice,
        lr_decay=request.lr_decay,
        lr_min_scale=request.lr_min_scale,
        lr_mult=request.lr_mult,
    )
    rates = layer_rates(layer_map, request.layer_lr)
    scales |= {label: scale_for(rate, request.lr) for label, rate in rates.items()}
    frozen = set(select(layer_map, request.frozen_layers))
    for tower, selector in (request.tower_frozen_layers or {}).items():
        frozen |= set(select(layer_map, selector, tower=tower))
    return tuple(
        planned(
            layer,
            lr_scale=scales[layer.label],
            weight_decay=float(request.weight_decay),
            frozen=layer.label in frozen or layer.built_frozen,
        )
        for layer in layer_map
    )


def checked_warnings(layers: Sequence[PlanLayer], warnings: Sequence[str]) -> tuple[str, ...]:
    """Return a plan's warnings with the one about its frozen layers renewed, without those about the rates it had.

    Raises:
        SelectorError: Every layer is frozen.
    """
    if all(layer.pinned for layer in layers if layer.n_parameters):
        raise SelectorError(
            "Every layer is frozen or has a rate of 0: nothing is left to train. Leave out 'head', or use "
            "frozen_layers='backbone' for a linear probe."
        )
    kept = [text for text in warnings if not text.startswith((_FROZEN_NEW, IDLE))]
    new = [layer.label for layer in layers if layer.pinned and not layer.pretrained and layer.n_parameters]
    if new:
        kept.append(f"{_FROZEN_NEW} {listing(new)}: random weights that will never be trained")
    return tuple(kept)
