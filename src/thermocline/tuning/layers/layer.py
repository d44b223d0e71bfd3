"""One layer of a model: the record, and the roles that a layer can have."""

from __future__ import annotations

from dataclasses import dataclass

ROLES = ("stem", "block", "neck", "fusion", "head", "adapter")
#: What the selector `backbone` means: the roles of everything in a tower below its head, the neck included. In an
#: object detector only layers of the part `backbone` count.
BACKBONE_ROLES = ("stem", "block", "neck")


@dataclass(frozen=True, repr=False)
class Layer:
    """One layer.

    Attributes:
        name: Its name within the tower, such as `encoder.layer.3`.
        tower: The name of its tower, such as `text`.
        role: One of `ROLES`.
        depth: 0 nearest the input, counted per tower in execution order.
        parameters: Names of its parameters in the model.
        modules: Names of its modules in the model, modules without parameters (dropout) included.
        pretrained: Whether its weights are pretrained.
        source: How it was found: `group_matcher`, `structure`, `table`, `children`, `caller`; with `+forward` where
            blocks were merged because a forward pass runs them side by side.
        n_parameters: The number of its weights.
        part: In an object detector `backbone`, `neck`, `encoder`, `decoder` or `head`; else empty.
        built_frozen: Whether the model's own class builds it frozen. A plan keeps it frozen.

    Example:
        >>> import timm
        >>> model = timm.create_model("test_vit", num_classes=3)
        >>> layers = LayerMap.of(model, head=model.head)
        >>> block = layers["model/blocks.1"]
        >>> block.name, block.role, block.depth, block.n_parameters
        ('blocks.1', 'block', 2, 41728)
        >>> block.parameters[:2]
        ('blocks.1.norm1.weight', 'blocks.1.norm1.bias')
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
    built_frozen: bool = False

    def __repr__(self) -> str:
        state = ("pretrained" if self.pretrained else "new") + ", built frozen" * self.built_frozen
        what = f"{self.role}, depth {self.depth}, {self.n_parameters:,} weights, {state}"
        return f"<Layer {self.tower}/{self.name}: {what}>"

    @property
    def label(self) -> str:
        """`tower/name`: unique within a map."""
        return f"{self.tower}/{self.name}"
