"""Facts about a model: an ordered, total partition of its parameters. Building one changes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from torch import nn

from thermocline.errors import LayerMapError, did_you_mean, listing
from thermocline.tuning.layers import from_patterns as by_hand
from thermocline.tuning.layers import mapping, show
from thermocline.tuning.layers.heads import Head

if TYPE_CHECKING:
    import pandas as pd

#: How the order of layers is known, the weakest first: as modules are defined, by a forward pass, from the caller.
ORDERS = ("definition", "forward pass", "caller")
ROLES = ("stem", "block", "neck", "fusion", "head", "adapter")


@dataclass(frozen=True)
class Layer:
    """One layer.

    Attributes:
        name: Its name within the tower, such as `encoder.layer.3`.
        tower: The tower it stands in, such as `text`.
        role: One of `ROLES`.
        depth: 0 nearest the input, counted per tower in execution order.
        parameters: Names of its parameters in the model.
        modules: Names of its modules in the model, parameterless ones (dropout) included.
        pretrained: Whether its weights come from a checkpoint.
        source: How it was found: `group_matcher`, `structure`, `table`, `children`, `caller`; `+forward` where a
            forward pass joined what runs side by side.
        n_parameters: The number of its weights.
        part: In a detector `backbone`, `neck`, `encoder`, `decoder` or `head`; else empty.
        resting: Whether the model builds it frozen. A plan leaves it so.
    """

    name: str
    tower: str
    role: str
    depth: int
    parameters: tuple[str, ...]
    modules: tuple[str, ...]
    pretrained: bool
    source: str
    n_parameters: int = 0
    part: str = ""
    resting: bool = False

    @property
    def label(self) -> str:
        """`tower/name`: unique within a map."""
        return f"{self.tower}/{self.name}"


@dataclass(frozen=True)
class LayerMap:
    """An ordered, total partition of a model's parameters.

    Attributes:
        layers: Tower by tower, nearest the input first.
        aliases: Names of tied parameters, each with the name under which it is counted.
        warnings: What a user should know before trusting it.
        confident: False where the order of the layers is a guess. Such a map takes `single_lr` and
            `two_stage`, but neither `layerwise_decay` nor selectors other than `head`.
        order: Where the order of the layers comes from: one of `ORDERS`.
        notes: What else there is to say: what a detector freezes as it is built.
    """

    layers: tuple[Layer, ...]
    aliases: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    confident: bool = True
    order: str = "caller"
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        mapping.check_partition(self.layers)

    @classmethod
    def of(
        cls,
        model: nn.Module,
        *,
        head: Head = None,
        example: Any = None,
        tower: str = "model",
        pretrained: bool = True,
        fresh: Iterable[str] = (),
        fresh_parts: Iterable[str] = (),
        adapters: Iterable[str] = (),
    ) -> LayerMap:
        """Find the layers of a model.

        Args:
            model: Any module; wrappers (torch.compile, DDP, PEFT) are seen through.
            head: The modules that the caller put on top, by identity. None asks the model itself.
            example: Inputs of one forward pass, from which the order of the layers is taken (a tensor, a tuple
                of arguments or a mapping of keyword arguments). The pass runs on shapes alone, on a copy: it
                costs neither memory nor arithmetic. timm and transformers models need no example.
            tower: The name of the tower, used in labels.
            pretrained: Whether the weights come from a checkpoint. The caller's head never does.
            fresh: Names of parameters that were newly initialised although the model is pretrained.
            fresh_parts: Parts of a detector (`neck`, `encoder`, `decoder`, `head`) that count as newly
                initialised whatever they hold; those that it does not have are passed over.
            adapters: Names of parameters that stand for their layer when the rest of it is frozen (biases for
                BitFit, norms for norm tuning). They become layers of role `adapter`, as what an adapter
                library put in does by itself; each has the depth of the layer that hosts it.

        Returns:
            A map whose `confident` says whether the order of its layers is known.

        Raises:
            LayerMapError: `head` is no part of the model, `adapters` names what it does not have, `fresh_parts`
                no part of a detector, or a forward pass on `example` fails.
        """
        return mapping.map_of(
            model,
            head=head,
            example=example,
            tower=tower,
            pretrained=pretrained,
            fresh=frozenset(fresh),
            fresh_parts=frozenset(fresh_parts),
            adapters=frozenset(adapters),
        )

    @classmethod
    def from_patterns(
        cls,
        model: nn.Module,
        patterns: Sequence[str | tuple[str, int]],
        *,
        head: Head = None,
        tower: str = "model",
        pretrained: bool = True,
    ) -> LayerMap:
        """Make a map by hand.

        Args:
            model: The model.
            patterns: Segment globs (or `re:…`) over module and parameter names, nearest the input first. Each
                module that a pattern with `*` or a range matches is a layer of its own, in numeric order; a
                pair `(pattern, group)` puts all that match into one layer with that number instead.
            head: Modules that are the head, by identity; else what no pattern matches must be a head that the
                model itself declares.
            tower: As in `of`.
            pretrained: As in `of`.

        Raises:
            LayerMapError: A pattern matches nothing, two disagree about a parameter, or one is left over.
        """
        return by_hand.map_from_patterns(model, patterns, head=head, tower=tower, pretrained=pretrained)

    @classmethod
    def single(
        cls, model: nn.Module, *, name: str, tower: str, role: str, pretrained: bool = False, depth: int = 0
    ) -> LayerMap:
        """Make a map of one layer, for a module that is one by construction (a head, a fusion MLP).

        Raises:
            LayerMapError: Unknown role.
        """
        if role not in ROLES:
            raise LayerMapError(f"Unknown role {role!r}; roles are {listing(ROLES)}.{did_you_mean(role, ROLES)}")
        return mapping.map_of_one(model, name=name, tower=tower, role=role, pretrained=pretrained, depth=depth)

    @classmethod
    def join(cls, maps: Mapping[str, LayerMap]) -> LayerMap:
        """Put maps of submodules together into one for the whole model.

        Args:
            maps: From the submodule's path in the whole model (`""` for the whole itself) to its map. Layers
                of two maps that name one tower are stacked in the order given.

        Raises:
            LayerMapError: Two layers would have the same label.
        """
        return mapping.joined(maps)

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
        """Return the layers of one tower, in order."""
        return tuple(layer for layer in self.layers if layer.tower == tower)

    def layer_of(self, parameter: str) -> Layer:
        """Return the layer that holds a parameter, tied names included."""
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
        """
        if self.confident:
            return
        raise LayerMapError(
            f"{purpose} needs to know the order of this model's layers, and it could not be found: "
            f"{'; '.join(self.warnings) or 'no repeated blocks'}.\n{show.parameter_tree(self.layers)}\n"
            "Ways out: name the layers yourself with LayerMap.from_patterns(model, ['stem', 'blocks.*', …]), "
            "nearest the input first, or use lr_choice='single_lr' or 'two_stage'."
        )

    def to_frame(self) -> pd.DataFrame:
        """Return one row per layer."""
        import pandas as pd

        columns = ["label", "tower", "name", "role", "depth", "n_parameters", "pretrained", "source"]
        rows = [{key: getattr(layer, key) for key in columns} for layer in self.layers]
        return pd.DataFrame(rows, columns=columns)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data that JSON can hold."""
        return {
            "version": 1,
            "layers": [asdict(layer) for layer in self.layers],
            "aliases": dict(self.aliases),
            "warnings": list(self.warnings),
            "confident": self.confident,
            "order": self.order,
            "notes": list(self.notes),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> LayerMap:
        """Return the map that `to_dict` wrote.

        Raises:
            LayerMapError: Not such data.
        """
        return mapping.map_from_dict(data)

    def __str__(self) -> str:
        return show.map_text(self)

    def _repr_html_(self) -> str:
        return show.map_html(self)
