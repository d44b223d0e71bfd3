"""An ordered, total partition of a model's parameters: the data of a layer map, and look-ups in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from thermocline.errors import LayerMapError, did_you_mean
from thermocline.tuning.layers.layer import Layer
from thermocline.tuning.layers.layer_text import parameter_tree

#: Where the order of the layers comes from, the weakest first: the definition of the modules, a forward pass, the
#: caller.
ORDERS = ("definition", "forward pass", "caller")


@dataclass(frozen=True)
class Partition:
    """The data of a `LayerMap`; attributes are described there."""

    layers: tuple[Layer, ...]
    aliases: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    confident: bool = True
    order: str = "caller"
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check(self.layers)

    def __iter__(self) -> Iterator[Layer]:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)

    def __getitem__(self, label: str) -> Layer:
        for layer in self.layers:
            if layer.label == label:
                return layer
        raise KeyError(label + did_you_mean(label, self.labels))

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of all layers, in order."""
        return tuple(layer.label for layer in self.layers)

    @property
    def towers(self) -> tuple[str, ...]:
        """The names of the towers, in order."""
        return tuple(dict.fromkeys(layer.tower for layer in self.layers))

    def of_tower(self, tower: str) -> tuple[Layer, ...]:
        """Return the layers of one tower, in order.

        Example:
            >>> [layer.name for layer in predictor.plan.layer_map.of_tower("text")]
            ['embeddings', 'encoder.layer.0', 'encoder.layer.1']
        """
        return tuple(layer for layer in self.layers if layer.tower == tower)

    def layer_of(self, parameter: str) -> Layer:
        """Return the layer that holds a parameter, tied names included.

        Example:
            >>> import timm
            >>> model = timm.create_model("test_vit", num_classes=3)
            >>> layers = LayerMap.of(model, head=model.head)
            >>> layers.layer_of("blocks.1.norm1.weight").label
            'model/blocks.1'
        """
        name = self.aliases.get(parameter, parameter)
        for layer in self.layers:
            if name in layer.parameters:
                return layer
        raise KeyError(f"No layer holds a parameter {parameter!r}.")

    def require_confident(self, purpose: str) -> None:
        """Raise unless the order of the layers is known.

        Args:
            purpose: What it is needed for, to be named in the message.

        Raises:
            LayerMapError: With the tree of parameters and the ways out.

        Example:
            >>> import timm
            >>> model = timm.create_model("test_vit", num_classes=3)
            >>> layers = LayerMap.of(model, head=model.head)
            >>> layers.require_confident("layerwise_decay")
        """
        if self.confident:
            return
        raise LayerMapError(
            f"{purpose} needs to know the order of this model's layers, and it could not be found: "
            f"{'; '.join(self.warnings) or 'no repeated blocks'}.\n{parameter_tree(self.layers)}\n"
            "Ways out: name the layers yourself with LayerMap.from_patterns(model, ['stem', 'blocks.*', …]), "
            "nearest the input first, or use lr_choice='single_lr' or 'two_stage'."
        )


def _check(layers: Sequence[Layer]) -> None:
    """Raise unless labels are unique and no parameter is in two layers."""
    seen: dict[str, str] = {}
    labels: set[str] = set()
    for layer in layers:
        if layer.label in labels:
            raise LayerMapError(f"Two layers are called {layer.label!r}; give one another name or tower.")
        labels.add(layer.label)
        for name in layer.parameters:
            if name in seen:
                raise LayerMapError(f"{name!r} is in two layers, {seen[name]!r} and {layer.label!r}.")
            seen[name] = layer.label
