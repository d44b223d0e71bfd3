"""What is decided about one layer, as pure data."""

from __future__ import annotations

from dataclasses import dataclass, field

from thermocline.tuning.layers.layer_map import Layer


@dataclass(frozen=True)
class PlanLayer:
    """What is decided about one layer."""

    label: str
    tower: str
    role: str
    depth: int
    lr_scale: float
    weight_decay: float
    frozen: bool
    n_parameters: int
    pretrained: bool
    parameters: tuple[str, ...] = field(default=(), repr=False)
    part: str = ""

    @property
    def name(self) -> str:
        """The name within the tower."""
        return self.label.removeprefix(f"{self.tower}/")


def as_layer(one: PlanLayer) -> Layer:
    """Return the layer that an entry is about, without its modules."""
    place = (one.name, one.tower, one.role, one.depth)
    return Layer(*place, one.parameters, (), one.pretrained, "plan", one.n_parameters, one.part)


def entry(layer: Layer, scale: float, weight_decay: float, frozen: bool) -> PlanLayer:
    """Return what is decided about a layer."""
    return PlanLayer(
        layer.label,
        layer.tower,
        layer.role,
        layer.depth,
        scale,
        weight_decay,
        frozen,
        layer.n_parameters,
        layer.pretrained,
        layer.parameters,
        layer.part,
    )
