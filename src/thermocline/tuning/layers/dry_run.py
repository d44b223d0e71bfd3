"""The order in which a forward pass uses parameters, found without memory or arithmetic.

A copy of the model whose parameters are on the meta device (shapes, no data) runs once. Every operator that it calls
passes through a dispatch mode, which notes the first operator that takes each parameter.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from thermocline.errors import LayerMapError, first_line
from thermocline.tuning.layers.example_inputs import examples_of
from thermocline.tuning.layers.meta_dispatch import MetaDispatch, copy_to_meta, tensors_in
from thermocline.tuning.random_numbers import RandomNumbers

#: Share of the parameters that a pass must use for no fuller one to be sought.
_ENOUGH = 0.98


@dataclass
class Pass:
    """When one forward pass uses a model's parameters.

    Attributes:
        first: The number of the operator that first uses a parameter; one that is not used is absent.
        last: The number of the operator that last uses it.
        reads: At the first operator: the groups whose parameters had a part in its other inputs, one bit a group.
        groups: The group of each parameter whose influence was followed.
        alone: The parameters that were run in a pass of their tower alone, whose numbers compare with no others.
    """

    first: dict[str, int] = field(default_factory=dict)
    last: dict[str, int] = field(default_factory=dict)
    reads: dict[str, int] = field(default_factory=dict)
    groups: Mapping[str, int] = field(default_factory=dict)
    alone: set[str] = field(default_factory=set)


def forward_pass(model: nn.Module, example: Any = None, groups: Mapping[str, int] | None = None) -> Pass | None:
    """Run a model on shapes alone.

    Args:
        model: Any module; it is not changed.
        example: Inputs of one forward pass: a tensor, a tuple of positional or a mapping of keyword arguments.
            None makes them from the configuration of a timm or transformers model.
        groups: Groups of parameters, from name to number, whose influence is to be followed.

    Returns:
        None where there is no example or the pass fails on shapes alone (it branches on values, or calls code
        that is not torch's).

    Raises:
        LayerMapError: The pass fails on the example given.
    """
    try:
        shadow = copy_to_meta(model)
    except Exception:  # a model that cannot be copied
        return None
    if example is None:
        return _fullest_pass(shadow, examples_of(model), groups or {})
    try:
        return _run(shadow, example, _watch(shadow, groups or {}))
    except Exception as error:  # a foreign forward pass may raise anything
        raise LayerMapError(
            f"A forward pass of {type(model).__name__} on the shapes of example= failed with "
            f"{type(error).__name__}: {first_line(error)}. Give inputs as model(…) takes them: a tensor, a "
            "tuple of arguments or a mapping of keyword arguments. Leave example= out for a model that cannot run on "
            "shapes alone (it branches on values)."
        ) from error


def _fullest_pass(shadow: nn.Module, examples: Iterable[Any], groups: Mapping[str, int]) -> Pass | None:
    """The pass that uses most parameters: an image tower does not run where only text is given."""
    enough = _ENOUGH * sum(1 for _ in shadow.parameters())
    best: Pass | None = None
    for inputs in examples:
        seen = _pass_with_experts(shadow, inputs, groups, enough)
        if seen is not None and (best is None or len(seen.first) > len(best.first)):
            best = seen
        if best is not None and len(best.first) >= enough:
            break
    return best


def _pass_with_experts(shadow: nn.Module, inputs: Any, groups: Mapping[str, int], enough: float) -> Pass | None:
    """The pass on these inputs in which each mixture calls one expert; where that is not enough, all of them."""
    best: Pass | None = None
    for one_place in (True, False):
        watch = _watch(shadow, groups, one_place=one_place)
        try:
            seen = _run(shadow, inputs, watch)
        except Exception:  # a foreign forward pass may raise anything: then these inputs show nothing
            seen = None
        if seen is not None and (best is None or len(seen.first) > len(best.first)):
            best = seen
        if not watch.chose or (best is not None and len(best.first) >= enough):
            break
    return best


def _watch(shadow: nn.Module, groups: Mapping[str, int], *, one_place: bool = False) -> _ParameterWatch:
    return _ParameterWatch({id(p): name for name, p in shadow.named_parameters()}, groups, one_place=one_place)


def _run(shadow: nn.Module, inputs: Any, watch: _ParameterWatch) -> Pass:
    with RandomNumbers(), torch.no_grad(), watch:
        if isinstance(inputs, Mapping):
            shadow(**inputs)
        elif isinstance(inputs, Sequence) and not isinstance(inputs, str):
            shadow(*inputs)
        else:
            shadow(inputs)
    return watch.seen


class _ParameterWatch(MetaDispatch):  # type: ignore[no-untyped-call]
    """Notes the first operator that takes each parameter.

    Args:
        names: The parameters' names, by id.
        groups: As in `forward_pass`.
        one_place: As in `MetaDispatch`.
    """

    def __init__(self, names: Mapping[int, str], groups: Mapping[str, int], *, one_place: bool) -> None:
        super().__init__(one_place=one_place)
        self._names, self._groups = names, groups
        self.seen = Pass(groups=groups)

    def watch(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """Run one operator; what it makes is marked with the parameters and groups that had a part in it."""
        flat = tensors_in((args, kwargs))
        waiting, made_by = self._note(flat)
        out = self.answer(func, args, kwargs, flat)
        if waiting or made_by:
            for leaf in tensors_in(out):
                if id(leaf) not in self._names:
                    leaf._waiting = waiting  # type: ignore[attr-defined]
                    leaf._made_by = made_by | getattr(leaf, "_made_by", 0)  # type: ignore[attr-defined]
        return out

    def _note(self, leaves: list[torch.Tensor]) -> tuple[frozenset[str], int]:
        """Note parameters that are combined with data for the first time.

        Returns:
            The parameters of which the result is only another form (transposed, cast, `1 + weight`) because no
            data took part yet, and the groups that had a part in the data.
        """
        read, met = 0, False
        used: set[str] = set()
        for leaf in leaves:
            name = self._names.get(id(leaf))
            forms = {name} if name is not None else getattr(leaf, "_waiting", None)
            if forms:
                used |= forms
            else:
                met = True
                read |= getattr(leaf, "_made_by", 0)
        if used and not met:
            return frozenset(used), 0
        made_by = read
        for name in used:
            self.seen.last[name] = self.count
            if name not in self.seen.first:
                self.seen.first[name] = self.count
                self.seen.reads[name] = read
            if name in self._groups:
                made_by |= 1 << self._groups[name]
        return frozenset(), made_by
