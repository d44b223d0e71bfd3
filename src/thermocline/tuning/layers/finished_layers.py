"""Drafts made into layers: depth per tower, modules, state of the weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from thermocline.errors import listing
from thermocline.tuning.layers.drafts import Draft
from thermocline.tuning.layers.layer import Layer
from thermocline.tuning.layers.layer_modules import assign_modules
from thermocline.tuning.layers.named_model import NamedModel
from thermocline.tuning.layers.partition import Partition


@dataclass(frozen=True)
class WeightState:
    """Which weights are pretrained, and which parameters the model builds frozen.

    Attributes:
        pretrained: Whether the model's weights are pretrained.
        fresh: Names of parameters that are newly initialised all the same.
        fresh_head: Whether the head is newly initialised.
        fresh_parts: Parts of an object detector that count as newly initialised.
        built_frozen: Names of parameters that the model builds frozen.
    """

    pretrained: bool
    fresh: frozenset[str] = frozenset()
    fresh_head: bool = False
    fresh_parts: frozenset[str] = frozenset()
    built_frozen: frozenset[str] = frozenset()

    def is_pretrained(self, draft: Draft) -> bool:
        """Whether a layer counts as pretrained.

        A layer is new if all of its parameters are fresh, an object detector's head already if one of them is.
        """
        if not self.pretrained or draft.added or draft.part in self.fresh_parts:
            return False
        if self.fresh_head and draft.role == "head":
            return False
        among = any if draft.part == "head" else all
        return not (self.fresh and among(name in self.fresh for name in draft.parameters))


def finished_layers(core: NamedModel, drafts: Sequence[Draft], tower: str, weights: WeightState) -> list[Layer]:
    """Return drafts as layers.

    Args:
        core: The model; names are those within it.
        drafts: In order, tower by tower.
        tower: The name of the tower; a draft's own tower is added to it.
        weights: The state of the weights.
    """
    modules = assign_modules(core.model, [draft.parameters for draft in drafts], [draft.role for draft in drafts])
    next_depth: dict[str, int] = {}
    out: list[Layer] = []
    for draft, own_modules in zip(drafts, modules, strict=True):
        depth = next_depth.get(draft.tower, 0)
        if draft.role == "adapter":
            depth = max(depth - 1, 0)  # that of its host
        else:
            next_depth[draft.tower] = depth + 1
        if not draft.parameters:  # all of it is in its adapter, which keeps its depth
            continue
        out.append(
            Layer(
                name=draft.name,
                tower=tower_name(tower, draft.tower),
                role=draft.role,
                depth=depth,
                parameters=tuple(draft.parameters),
                modules=own_modules,
                pretrained=weights.is_pretrained(draft),
                source=draft.source,
                n_parameters=sum(core.parameters[name].numel() for name in draft.parameters),
                part=draft.part,
                built_frozen=all(name in weights.built_frozen for name in draft.parameters),
            )
        )
    return out


def tower_name(tower: str, own: str) -> str:
    """Return the name of a tower as it is shown: that of the whole model, of a tower within it, or both."""
    if not own:
        return tower
    return own if tower == "model" else f"{tower}.{own}"


def finished_partition(core: NamedModel, layers: Sequence[Layer], doubts: Sequence[str], *, order: str) -> Partition:
    """Return layers as a partition, under the names of the wrapped model.

    Args:
        core: The model.
        layers: Its layers; every parameter is in one.
        doubts: Why their order is not to be trusted; empty where it is.
        order: Where their order comes from.
    """
    missing = set(core.parameters).difference(*(layer.parameters for layer in layers))
    assert not missing, f"parameters without a layer: {listing(sorted(missing))}"
    warnings = ("THE LAYERS OF THIS MODEL COULD NOT BE FOUND WITH CONFIDENCE", *doubts) if doubts else ()
    return Partition(
        tuple(prefixed_layer(layer, core.prefix) for layer in layers),
        {core.prefix + alias: core.prefix + name for alias, name in core.aliases.items()},
        warnings,
        confident=not doubts,
        order=order,
    )


def prefixed_layer(layer: Layer, prefix: str) -> Layer:
    """Return a layer with the names of a model in which its own lies under `prefix` (empty, or with a dot)."""
    if not prefix:
        return layer
    return replace(
        layer,
        parameters=tuple(prefix + name for name in layer.parameters),
        modules=tuple((prefix + name).removesuffix(".") for name in layer.modules),
    )
