"""Facts about a model: an ordered, total partition of its parameters. Building one changes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import nn

from thermocline.errors import LayerMapError, did_you_mean, listing
from thermocline.tuning.layers import show
from thermocline.tuning.layers.build_map import MapRequest, build_map
from thermocline.tuning.layers.from_patterns import Pattern, partition_from_patterns
from thermocline.tuning.layers.heads import Head
from thermocline.tuning.layers.joining import joined, one_layer, part_of
from thermocline.tuning.layers.layer import ROLES, Layer
from thermocline.tuning.layers.map_data import map_from_dict, map_to_dict
from thermocline.tuning.layers.partition import Partition

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, repr=False)
class LayerMap(Partition):
    """An ordered, total partition of a model's parameters.

    Attributes:
        layers: Tower by tower, nearest the input first.
        aliases: Names of tied parameters, each with the name under which it is counted.
        warnings: What a user should know before trusting it.
        confident: False where the order of the layers is a guess. Such a map takes `single_lr` and
            `two_stage`, but neither `layerwise_decay` nor selectors other than `head`.
        order: Where the order of the layers comes from: `definition`, `forward pass` or `caller`.
        notes: Further remarks: what an object detector freezes as it is built.

    Example:
        >>> import timm
        >>> model = timm.create_model("test_vit", num_classes=3)
        >>> layers = LayerMap.of(model, head=model.head)
        >>> layers.labels[:2], layers.towers, layers.confident
        (('model/stem', 'model/blocks.0'), ('model',), True)
        >>> layers["model/head"].role
        'head'
        >>> print(layers)
        LayerMap: 8 layers, 1 tower, 306k weights, in the order of a forward pass
        ...
    """

    @classmethod
    def of(  # noqa: PLR0913 - public API
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
            head: The modules that the caller added on top, by identity. None asks the model itself.
            example: Inputs of one forward pass, from which the order of the layers is taken (a tensor, a tuple
                of arguments or a mapping of keyword arguments). The pass runs on shapes alone, on a copy: it
                costs neither memory nor arithmetic. timm and transformers models need no example.
            tower: The name of the tower, used in labels.
            pretrained: Whether the weights are pretrained. The caller's head never is.
            fresh: Names of parameters that are newly initialised although the model is pretrained.
            fresh_parts: Parts of an object detector (`neck`, `encoder`, `decoder`, `head`) that count as newly
                initialised whatever they hold; parts that it does not have are ignored.
            adapters: Names of parameters that train while the rest of their layer is frozen (biases for
                BitFit, norms for norm tuning). They become layers of role `adapter`, as parameters that an adapter
                library added do by themselves; each has the depth of the layer that hosts it.

        Returns:
            A map whose `confident` says whether the order of its layers is known.

        Raises:
            LayerMapError: `head` is no part of the model, `adapters` names what it does not have, `fresh_parts`
                no part of an object detector, or a forward pass on `example` fails.

        Example:
            >>> import timm
            >>> model = timm.create_model("test_vit", num_classes=3)
            >>> len(LayerMap.of(model, head=model.head))
            8
            >>> import torch
            >>> own = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
            >>> LayerMap.of(own, head=own[2], example=torch.zeros(1, 4)).labels
            ('model/0', 'model/2')
        """
        sets = {"fresh": frozenset(fresh), "fresh_parts": frozenset(fresh_parts), "adapters": frozenset(adapters)}
        return cls._of(build_map(model, MapRequest(head, example, tower, pretrained, **sets)))

    @classmethod
    def from_patterns(
        cls,
        model: nn.Module,
        patterns: Sequence[Pattern],
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

        Example:
            >>> import timm
            >>> model = timm.create_model("test_vit", num_classes=3)
            >>> patterns = ["cls_token", "pos_embed", "patch_embed", "blocks.*", "norm"]
            >>> hand = LayerMap.from_patterns(model, patterns, head=model.head)
            >>> [layer.name for layer in hand][:4]
            ['cls_token', 'pos_embed', 'patch_embed', 'blocks.0']
        """
        return cls._of(partition_from_patterns(model, patterns, head=head, tower=tower, pretrained=pretrained))

    @classmethod
    def single(
        cls, model: nn.Module, *, name: str, tower: str, role: str, pretrained: bool = False, depth: int = 0
    ) -> LayerMap:
        """Make a map of one layer, for a module that is one by construction (a head, a fusion MLP).

        Raises:
            LayerMapError: Unknown role.

        Example:
            >>> import torch
            >>> LayerMap.single(torch.nn.Linear(4, 2), name="head", tower="model", role="head").labels
            ('model/head',)
        """
        if role not in ROLES:
            raise LayerMapError(f"Unknown role {role!r}; roles are {listing(ROLES)}.{did_you_mean(role, ROLES)}")
        return cls._of(one_layer(model, Layer(name, tower, role, depth, (), (), pretrained, "caller")))

    @classmethod
    def join(cls, maps: Mapping[str, LayerMap]) -> LayerMap:
        """Join maps of submodules into one for the whole model.

        Args:
            maps: From the submodule's path in the whole model (`""` for the whole itself) to its map. Layers
                of two maps that name one tower are stacked in the order given.

        Raises:
            LayerMapError: Two layers would have the same label.

        Example:
            >>> import torch
            >>> model = torch.nn.ModuleDict({"text": torch.nn.Linear(4, 4), "head": torch.nn.Linear(4, 2)})
            >>> text = LayerMap.single(model["text"], name="linear", tower="text", role="block")
            >>> head = LayerMap.single(model["head"], name="out", tower="fusion", role="head")
            >>> LayerMap.join({"text": text, "head": head}).labels
            ('text/linear', 'fusion/out')
        """
        return cls._of(joined(maps))

    def part(self, path: str) -> LayerMap:
        """Return the map of a submodule, as it was before `join`.

        Args:
            path: The submodule's path in the whole model.

        Example:
            >>> layers = predictor.plan.layer_map
            >>> layers.part("head").labels
            ('fusion/head',)
        """
        return LayerMap._of(part_of(self, path))

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> LayerMap:
        """Return the map that `to_dict` wrote.

        Raises:
            LayerMapError: Not such data.

        Example:
            >>> import timm
            >>> model = timm.create_model("test_vit", num_classes=3)
            >>> layers = LayerMap.of(model, head=model.head)
            >>> LayerMap.from_dict(layers.to_dict()) == layers
            True
        """
        return cls._of(map_from_dict(data))

    @classmethod
    def _of(cls, partition: Partition) -> LayerMap:
        return cls(**vars(partition))

    def to_dict(self) -> dict[str, Any]:
        """Return plain data that JSON can hold.

        Example:
            >>> import timm
            >>> model = timm.create_model("test_vit", num_classes=3)
            >>> layers = LayerMap.of(model, head=model.head)
            >>> sorted(layers.to_dict())[:3]
            ['aliases', 'confident', 'layers']
        """
        return map_to_dict(self)

    def to_frame(self) -> pd.DataFrame:
        """Return one row per layer.

        Example:
            >>> import timm
            >>> model = timm.create_model("test_vit", num_classes=3)
            >>> layers = LayerMap.of(model, head=model.head)
            >>> layers.to_frame()[["label", "role", "depth", "pretrained"]].head(2)
                        label   role  depth  pretrained
            0      model/stem   stem      0        True
            1  model/blocks.0  block      1        True
        """
        import pandas as pd

        columns = ["label", "tower", "name", "role", "depth", "n_parameters", "pretrained", "source"]
        rows = [{key: getattr(layer, key) for key in columns} for layer in self.layers]
        return pd.DataFrame(rows, columns=columns)

    def __str__(self) -> str:
        return show.map_text(self)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return show.map_html(self)
