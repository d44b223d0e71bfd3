"""Which frozen layers stand ahead of everything that trains: the part of a tower that need not run again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from thermocline.tuning.layers.layer import Layer
from thermocline.tuning.layers.layer_map import LayerMap


@dataclass(frozen=True)
class Prefix:
    """The frozen layers at the start of a tower.

    Attributes:
        tower: The tower's name in the model (`text`, `image`).
        labels: Their labels, in order; empty where the first layer trains.
        whole: Whether they are all that the tower has.
        blocked_by: The first layer that trains.
    """

    tower: str
    labels: tuple[str, ...]
    whole: bool
    blocked_by: str | None

    @property
    def told(self) -> str:
        """The layers in words."""
        return "all layers" if self.whole else f"layers up to {self.last or self.labels[-1]}"

    @property
    def last(self) -> str:
        """The name of its last layer, as in the plan."""
        return self.labels[-1].partition("/")[2]


def prefix_of(layer_map: LayerMap, tower: str, frozen: Iterable[str]) -> Prefix:
    """Return the longest run of frozen layers from the input of a tower on, in execution order.

    An adapter that trains ends the run at its host. Where a backbone has towers of its own, each has its run.

    Args:
        layer_map: The layers of the whole model.
        tower: A tower of the model, whose parameters begin with `towers.{tower}.`.
        frozen: Labels of the layers that do not train.
    """
    frozen = set(frozen)
    layers = [one for one in layer_map if any(name.startswith(f"towers.{tower}.") for name in one.parameters)]
    inner: dict[str, list[Layer]] = {}
    for layer in layers:
        inner.setdefault(layer.tower, []).append(layer)
    chosen: set[str] = set()
    blocked: str | None = None
    for own in inner.values():
        training = [layer for layer in own if layer.label not in frozen]
        first = min((layer.depth for layer in training), default=None)
        chosen |= {layer.label for layer in own if first is None or layer.depth < first}
        if training and blocked is None:
            blocked = min(training, key=lambda layer: layer.depth).label
    labels = tuple(layer.label for layer in layers if layer.label in chosen)
    return Prefix(tower, labels, bool(layers) and len(labels) == len(layers), blocked)
