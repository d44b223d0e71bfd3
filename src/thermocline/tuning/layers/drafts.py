"""Layers in the making, as finders propose them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from thermocline.tuning.layers.dry_run import Pass


@dataclass
class Draft:
    """A layer in the making; parameter names are those of the unwrapped model.

    Attributes:
        name: Its name within the model; the tower's name in front is removed where there are towers.
        role: One of `thermocline.tuning.layers.layer.ROLES`.
        parameters: The names of its parameters.
        source: As `Layer.source`.
        tower: The submodule that is its tower; empty where the model is one tower.
        added: Whether an adapter library added it: its weights are not pretrained.
        part: The part of an object detector; empty elsewhere.
    """

    name: str
    role: str
    parameters: list[str]
    source: str
    tower: str = ""
    added: bool = False
    part: str = ""


@dataclass
class Proposal:
    """The layers that a finder proposes.

    Attributes:
        drafts: In order, without the head.
        doubts: Why the order is not to be trusted; empty where it is.
        merged: How many blocks were merged into others because they run side by side.
        ordered: Whether a forward pass has confirmed the order.
        run: That forward pass, where one ran.
    """

    drafts: list[Draft]
    doubts: list[str] = field(default_factory=list)
    merged: int = 0
    ordered: bool = False
    run: Pass | None = None


def by_tower(drafts: Sequence[Draft]) -> dict[str, list[Draft]]:
    """Return the drafts of each tower, both in order."""
    towers: dict[str, list[Draft]] = {}
    for draft in drafts:
        towers.setdefault(draft.tower, []).append(draft)
    return towers


def make_names_unique(drafts: list[Draft]) -> None:
    """Number drafts of one tower that would have one name."""
    seen: dict[tuple[str, str], int] = {}
    for draft in drafts:
        key = (draft.tower, draft.name)
        seen[key] = seen.get(key, 0) + 1
        if seen[key] > 1:
            draft.name = f"{draft.name}#{seen[key]}"
