"""Layers in the making, as the detectors hand them on."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Draft:
    """A layer in the making; parameter names are those of the unwrapped model."""

    name: str
    role: str
    parameters: list[str]
    source: str
    tower: str = ""
    #: An adapter that was put in: its weights come from no checkpoint.
    added: bool = False
    #: The part of a detector; empty elsewhere.
    part: str = ""


@dataclass
class Detection:
    """What was found.

    Attributes:
        drafts: In order, the head left out.
        doubts: Why the order is not to be trusted; empty where it is.
        merged: How many blocks were joined to others because they run side by side.
        ordered: Whether a forward pass has confirmed the order.
    """

    drafts: list[Draft]
    doubts: list[str] = field(default_factory=list)
    merged: int = 0
    ordered: bool = False


def common_name(names: list[str]) -> str:
    """The longest module path that all names share, or `""`."""
    shared = names[0].split(".")[:-1]
    for name in names[1:]:
        parts = name.split(".")[:-1]
        shared = [a for a, b in zip(shared, parts, strict=False) if a == b][: _common(shared, parts)]
    return ".".join(shared)


def _common(a: list[str], b: list[str]) -> int:
    count = 0
    for left, right in zip(a, b, strict=False):
        if left != right:
            break
        count += 1
    return count


def unique_names(drafts: list[Draft]) -> None:
    """Number drafts of one tower that would have one name."""
    seen: dict[tuple[str, str], int] = {}
    for draft in drafts:
        key = (draft.tower, draft.name)
        seen[key] = seen.get(key, 0) + 1
        if seen[key] > 1:
            draft.name = f"{draft.name}#{seen[key]}"
