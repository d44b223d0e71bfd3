"""Parameters outside all blocks placed by structure: in the stem, in a block, or in the neck."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import nn

from thermocline.tuning.layers.drafts import Draft, make_names_unique
from thermocline.tuning.layers.families import FINAL_NORM, Family, is_embedding
from thermocline.tuning.layers.module_names import common_module, is_inside, prefixes
from thermocline.tuning.layers.norms import is_norm
from thermocline.tuning.layers.patterns import compile_glob
from thermocline.tuning.layers.repeated_blocks import Stack
from thermocline.tuning.layers.wrappers import clean_name

_STEM, _NECK = -1, -2  # places that are no block's index


def place_parameters(
    model: nn.Module, body: Mapping[str, nn.Parameter], stacks: list[Stack], family: Family | None
) -> list[Draft]:
    """Return drafts in which every parameter has its place: stem, blocks, neck.

    Args:
        model: The model.
        body: The parameters to be placed, by name.
        stacks: Their blocks.
        family: Its row in the table of exceptions.
    """
    blocks = [Draft(b.name, "block", list(b.parameters), "structure") for s in stacks for b in s.blocks]
    stem: list[str] = []
    neck: list[str] = []
    placement = _Placement(model, stacks, family)
    for name in body:
        place = placement.next(name)
        if place == _STEM:
            stem.append(name)
        elif place == _NECK:
            neck.append(name)
        elif place is not None:
            blocks[place].parameters.append(name)
    drafts = [*([Draft("stem", "stem", stem, "structure")] if stem else []), *blocks]
    if neck:
        drafts.append(Draft("neck", "neck", neck, "structure"))
    _name_loose(drafts)
    return drafts


def _name_loose(drafts: list[Draft]) -> None:
    """Name stem and neck after the module that they share, unless other layers lie in it."""
    for draft in drafts:
        if draft.role != "block":
            draft.name = common_module(draft.parameters) or draft.name
            if any(is_inside(other.name, draft.name) for other in drafts if other is not draft):
                draft.name = draft.role
    make_names_unique(drafts)


@dataclass
class _Placement:
    """Places parameters one after another, in order of definition.

    Attributes:
        begun: The indices of the stacks of which a parameter was already seen.
    """

    model: nn.Module
    stacks: list[Stack]
    family: Family | None
    begun: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._stack_of = {
            name: number
            for number, stack in enumerate(self.stacks)
            for block in stack.blocks
            for name in block.parameters
        }
        ends = [0]
        for stack in self.stacks:
            ends.append(ends[-1] + len(stack.blocks))
        self._first = ends[:-1]  # by stack, the index of its first block among all
        self._last = [end - 1 for end in ends[1:]]

    def next(self, name: str) -> int | None:
        """Return the place of a parameter: a block's index, `_STEM` or `_NECK`; None for a block's own parameter."""
        if name in self._stack_of:
            self.begun.add(self._stack_of[name])
            return None
        listed = self._listed(name)
        if listed is not None:
            return listed
        module = self.model.get_submodule(name.rpartition(".")[0])
        scope = self._scope(name)
        inside = [number for number, stack in enumerate(self.stacks) if is_inside(stack.path, scope)]
        inside = inside or [len(self.stacks) - 1]
        if is_norm(module) and FINAL_NORM.search(clean_name(name)):
            return self._last[inside[-1]]
        if is_embedding(self.model, name):
            return _STEM
        return self._by_position(name, scope, inside, norm=is_norm(module))

    def _listed(self, name: str) -> int | None:
        """The place that the table of exceptions gives."""
        if self.family is None:
            return None
        if _matches(clean_name(name), self.family.stem):
            return _STEM
        return self._last[-1] if _matches(clean_name(name), self.family.last) else None

    def _by_position(self, name: str, scope: str, inside: list[int], *, norm: bool) -> int:
        """The place by the stacks that are defined before the parameter.

        Args:
            name: The parameter.
            scope: The deepest module that holds both the parameter and a stack.
            inside: The stacks in that module.
            norm: Whether the parameter is that of a normalisation.
        """
        done = [number for number in inside if number in self.begun]
        if not done:
            return _STEM if inside[0] == 0 else self._first[inside[0]]
        if not norm and done[-1] and scope.rpartition(".")[2] == "decoder":
            return self._first[done[-1]]  # reference points and the like: used from the decoder's first block on
        direct = name.rpartition(".")[0].rpartition(".")[0] == scope  # a norm inside a neck belongs to the neck
        if (norm and direct) or done[-1] != len(self.stacks) - 1:
            return self._last[done[-1]]
        return _NECK

    def _scope(self, name: str) -> str:
        """The deepest module that holds both the parameter and a stack."""
        for above in reversed(prefixes(name)[:-1]):
            if any(is_inside(stack.path, above) for stack in self.stacks):
                return above
        return ""


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(compile_glob(pattern).fullmatch(above) for pattern in patterns for above in prefixes(name))
