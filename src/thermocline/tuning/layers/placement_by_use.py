"""Parameters outside all blocks placed by the moment of their first use in a forward pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from thermocline.tuning.layers.drafts import Draft
from thermocline.tuning.layers.dry_run import Pass
from thermocline.tuning.layers.module_names import common_module, shared_segments

#: The name of a parameter that lies in no block, and the draft that it comes from.
Stray = tuple[str, Draft]


def times_of(draft: Draft, run: Pass) -> list[int]:
    """Return when the parameters of a draft are first used, those that are not used left out."""
    return [run.first[name] for name in draft.parameters if name in run.first]


def place_strays(
    strays: list[Stray], blocks: list[Draft], mask: int, run: Pass, is_norm: Callable[[str], bool]
) -> list[Draft]:
    """Give every parameter outside the blocks its place by the moment of its first use.

    Args:
        strays: The parameters outside the blocks.
        blocks: In execution order; parameters are added to them.
        mask: The numbers of the tower's blocks in `run`, one bit each.
        run: The first uses.
        is_norm: Whether a parameter is that of a normalisation.

    Returns:
        Stem, blocks and neck.
    """
    placement = _Placement(blocks, mask, run, is_norm)
    for name, origin in sorted(strays, key=lambda stray: run.first.get(stray[0], -1)):
        placement.place(name, origin)
    origins = dict(strays)
    out = [_loose_draft(origins, placement.stem, "stem"), *blocks] if placement.stem else list(blocks)
    return [*out, _loose_draft(origins, placement.neck, "neck")] if placement.neck else out


@dataclass
class _Placement:
    """Places parameters one after another, the earliest used first."""

    blocks: list[Draft]
    mask: int
    run: Pass
    is_norm: Callable[[str], bool]
    stem: list[str] = field(default_factory=list)
    neck: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        times = [times_of(block, self.run) for block in self.blocks]
        self._starts, self._ends = [min(own) for own in times], [max(own) for own in times]
        self._own = [list(block.parameters) for block in self.blocks]  # without what is placed
        self._gap_of_next = -1  # the last block after which the gap has begun to belong to the next block

    def place(self, name: str, origin: Draft) -> None:
        """Add one parameter to the stem, a block or the neck."""
        time = self.run.first.get(name)
        if time is None:  # never used: it stays where it is
            (self.stem if origin.role == "stem" else self.neck).append(name)
            return
        index = sum(start <= time for start in self._starts) - 1
        if index < 0 or (self._is_input(name, origin) and time <= self._ends[-1]):
            self.stem.append(name)
        elif time <= self._ends[index]:
            self.blocks[index].parameters.append(name)
        elif index < len(self.blocks) - 1 and origin.role == "stem" and self.run.last[name] > self._starts[index + 1]:
            self.stem.append(name)  # it feeds several blocks
        elif index < len(self.blocks) - 1:
            self._place_between(name, index)
        elif self.is_norm(name) and not self.neck:  # the norm after the last block belongs to it
            self.blocks[-1].parameters.append(name)
        else:
            self.neck.append(name)

    def _place_between(self, name: str, index: int) -> None:
        """Add a parameter that is used between two blocks to the one whose names are nearer.

        Where both are as near, a norm belongs to the block before, anything else to the block after. What follows in
        the same gap goes to the block after too, once something has.
        """
        nearer = _nearness(name, self._own[index + 1]) - _nearness(name, self._own[index])
        if nearer > 0 or (nearer == 0 and not self.is_norm(name)):
            self._gap_of_next = index
        self.blocks[index + (self._gap_of_next == index)].parameters.append(name)

    def _is_input(self, name: str, origin: Draft) -> bool:
        """Whether a parameter feeds the blocks from outside.

        A block's shortcut reads no block's output either, but it comes from a block.
        """
        return origin.role != "block" and not self.run.reads[name] & self.mask


def _nearness(name: str, others: list[str]) -> int:
    """How many leading segments a name shares with the nearest of others."""
    parts = name.split(".")
    return max((shared_segments(parts, other.split(".")) for other in others), default=0)


def _loose_draft(origins: dict[str, Draft], names: list[str], role: str) -> Draft:
    """A draft of parameters that lie in no block, named as the first one's origin where its role is the same."""
    origin = origins[names[0]]
    same = origin.role == role and set(origin.parameters) & set(names)
    name = origin.name if same else common_module(names) or role
    return Draft(name, role, names, origin.source, origin.tower)
