"""Which frozen layers come before everything that trains: the part of a tower whose outputs can be reused."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from thermocline.tuning.layers.layer import Layer
from thermocline.tuning.layers.layer_map import LayerMap


@dataclass(frozen=True)
class Prefix:
    """The frozen layers at the start of a tower.

    Attributes:
        tower: The tower's name in the model.
        labels: Their labels, in order; empty where the first layer trains.
        whole: Whether the tower has no other layers.
    """

    tower: str
    labels: tuple[str, ...]
    whole: bool

    @property
    def in_words(self) -> str:
        """The layers in words: `all layers`, or `layers up to` the name of the last, as in the plan."""
        return "all layers" if self.whole else f"layers up to {self.labels[-1].partition('/')[2] or self.labels[-1]}"


def prefix_of(layer_map: LayerMap, tower: str, frozen: Iterable[str]) -> Prefix:
    """Return the longest sequence of frozen layers from the input of a tower on, in execution order.

    An adapter that trains ends the sequence at its host. Where a backbone has towers of its own, each has a sequence.

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
    for own in inner.values():
        first = min((layer.depth for layer in own if layer.label not in frozen), default=None)
        chosen |= {layer.label for layer in own if first is None or layer.depth < first}
    labels = tuple(layer.label for layer in layers if layer.label in chosen)
    return Prefix(tower, labels, bool(layers) and len(labels) == len(layers))
