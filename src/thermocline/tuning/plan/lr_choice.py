"""The values of `lr_choice`: each a function from a LayerMap to a scale per layer."""

from __future__ import annotations

from collections.abc import Callable

from thermocline.errors import ConfigError, did_you_mean, listing
from thermocline.tuning.layers.layer import BACKBONE_ROLES, Layer
from thermocline.tuning.layers.layer_map import LayerMap

LR_CHOICES = ("single_lr", "two_stage", "layerwise_decay")


def single_lr(layer_map: LayerMap) -> dict[str, float]:
    """Every layer at the base rate."""
    return dict.fromkeys(layer_map.labels, 1.0)


def two_stage(layer_map: LayerMap, *, lr_mult: float = 10.0) -> dict[str, float]:
    """Pretrained layers at the base rate, newly initialised ones at `lr_mult` times that."""
    return {layer.label: 1.0 if layer.pretrained else float(lr_mult) for layer in layer_map}


def layerwise_decay(layer_map: LayerMap, *, lr_decay: float = 0.9, lr_min_scale: float = 0.0) -> dict[str, float]:
    """The head at the base rate, each layer below it times `lr_decay` once more, down to `lr_min_scale`.

    Depth is that of the whole architecture. Decay is counted per pretrained tower: the longest takes
    `lr_decay` as given, a shorter one the power of it that gives its stem the same rate. New layers
    (head, fusion, a new tower) have the head's rate; an adapter has the rate of its host. A pretrained layer that
    runs after the towers (a projection that belongs to none) is one step below the head.

    Raises:
        LayerMapError: The order of the layers is not known.
    """
    layer_map.require_confident("lr_choice='layerwise_decay'")
    lengths = {tower: tower_length(layer_map, tower) for tower in layer_map.towers}
    loaded = {layer.tower for layer in layer_map if layer.pretrained and layer.role in ("stem", "block")}
    longest = max((lengths[tower] for tower in loaded), default=0)
    scales: dict[str, float] = {}
    for layer in layer_map:
        steps = _steps(layer, lengths[layer.tower])
        if layer.tower not in loaded:
            scales[layer.label] = float(lr_decay) if layer.pretrained and layer.role != "head" else 1.0
        elif steps == 0 or not (layer.pretrained or layer.role == "adapter"):
            scales[layer.label] = 1.0
        else:
            scales[layer.label] = float(lr_decay) ** (steps * longest / lengths[layer.tower])
    return {label: max(scale, float(lr_min_scale)) for label, scale in scales.items()}


def tower_length(layer_map: LayerMap, tower: str) -> int:
    """Return the number of depths below the head of a tower."""
    return len({layer.depth for layer in layer_map.of_tower(tower) if layer.role in BACKBONE_ROLES})


def _steps(layer: Layer, length: int) -> int:
    """How far a layer lies below the head: 1 for the last before it, 0 for a layer outside the backbone."""
    if layer.role in BACKBONE_ROLES or layer.role == "adapter":
        return max(length - layer.depth, 0)
    return 0


def scales_for(
    layer_map: LayerMap, choice: str, *, lr_decay: float, lr_min_scale: float, lr_mult: float
) -> dict[str, float]:
    """Return the scales that an `lr_choice` gives.

    Raises:
        ConfigError: There is no such choice.
    """
    table: dict[str, Callable[[], dict[str, float]]] = {
        "single_lr": lambda: single_lr(layer_map),
        "two_stage": lambda: two_stage(layer_map, lr_mult=lr_mult),
        "layerwise_decay": lambda: layerwise_decay(layer_map, lr_decay=lr_decay, lr_min_scale=lr_min_scale),
    }
    return table[canonical_choice(choice)]()


def canonical_choice(choice: object) -> str:
    """Return the choice in its usual spelling; `two_stages` is `two_stage`.

    Raises:
        ConfigError: There is no such choice.
    """
    if choice == "two_stages":
        return "two_stage"
    if isinstance(choice, str) and choice in LR_CHOICES:
        return choice
    raise ConfigError(
        f"Unknown lr_choice {choice!r}; choices are {listing(LR_CHOICES)}.{did_you_mean(choice, LR_CHOICES)}"
    )
