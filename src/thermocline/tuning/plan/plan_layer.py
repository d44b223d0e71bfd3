"""What is decided about one layer, as pure data."""

from __future__ import annotations

from dataclasses import dataclass, field

from thermocline.tuning.layers.layer import Layer


@dataclass(frozen=True, repr=False)
class PlanLayer:
    """What is decided about one layer.

    Attributes:
        label: `tower/name`.
        tower: As in the layer map; so are role, depth, n_parameters, pretrained, parameters and part.
        lr_scale: A multiple of the plan's base rate. 0 freezes it throughout.
        weight_decay: Of its parameters that take any.
        frozen: Whether it is named as frozen throughout.
    """

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

    def __repr__(self) -> str:
        does = "frozen" if self.pinned else f"lr × {self.lr_scale:.3g}, weight decay {self.weight_decay:g}"
        state = "pretrained" if self.pretrained else "new"
        return f"<PlanLayer {self.label}: {self.role}, {does}, {self.n_parameters:,} weights, {state}>"

    @property
    def name(self) -> str:
        """The name within the tower."""
        return self.label.removeprefix(f"{self.tower}/")

    @property
    def pinned(self) -> bool:
        """Whether it is frozen whatever the phases say: it is named as frozen, or its rate is 0."""
        return self.frozen or self.lr_scale == 0

    def as_layer(self) -> Layer:
        """Return the layer that the entry is about, without its modules."""
        place = (self.name, self.tower, self.role, self.depth)
        return Layer(*place, self.parameters, (), self.pretrained, "plan", self.n_parameters, self.part)


def planned(layer: Layer, *, lr_scale: float, weight_decay: float, frozen: bool) -> PlanLayer:
    """Return a layer with what is decided about it."""
    return PlanLayer(
        label=layer.label,
        tower=layer.tower,
        role=layer.role,
        depth=layer.depth,
        lr_scale=lr_scale,
        weight_decay=weight_decay,
        frozen=frozen,
        n_parameters=layer.n_parameters,
        pretrained=layer.pretrained,
        parameters=layer.parameters,
        part=layer.part,
    )
