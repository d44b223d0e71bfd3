"""The order in which a forward pass uses parameters, found without memory or arithmetic.

A copy of the model whose parameters are on the meta device (shapes, no data) runs once; every operator it calls
passes through a dispatch mode, which notes the first one that takes each parameter. What an operator makes of a
meta tensor is a meta tensor, so the pass costs about as much as its Python.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from thermocline.errors import LayerMapError, first_line
from thermocline.tuning.layers.example_inputs import examples_of

#: More operators than any backbone calls; a loop that waits for a value would never end.
_MOST_OPERATORS = 60_000
#: Share of the parameters that a pass must use for no fuller one to be sought.
_ENOUGH = 0.98
#: Elements of a tensor without weights in it that is still computed for real.
_MOST_REAL = 1 << 20


class _TooLong(RuntimeError):
    """A forward pass that does not end."""


@dataclass
class Pass:
    """What one forward pass says of a model's parameters.

    Attributes:
        first: The number of the operator that first uses a parameter; one that is not used is absent.
        reads: At that operator: the groups whose parameters had a part in its other inputs, one bit a group.
    """

    first: dict[str, int] = field(default_factory=dict)
    reads: dict[str, int] = field(default_factory=dict)


def forward_pass(model: nn.Module, example: Any = None, groups: Mapping[str, int] | None = None) -> Pass | None:
    """Run a model on shapes alone.

    Args:
        model: Any module; it is not touched.
        example: Inputs of one forward pass: a tensor, a tuple of positional or a mapping of keyword arguments.
            None makes them from what a timm or transformers model says of itself.
        groups: Groups of parameters, from name to number, whose influence is to be followed.

    Returns:
        None where there is no example or the pass fails on shapes alone (it branches on values, or calls code
        that is not torch's).

    Raises:
        LayerMapError: The pass fails on the example given.
    """
    try:
        shadow = _without_data(model)
    except Exception:  # a model that cannot be copied
        return None
    names = {id(p): name for name, p in shadow.named_parameters()}
    best: Pass | None = None
    for inputs in examples_of(model) if example is None else [example]:
        watch = _Watch(names, groups or {})
        try:
            with torch.random.fork_rng(devices=[]), torch.no_grad(), watch:
                _call(shadow, inputs)
        except Exception as error:  # a foreign forward pass may raise anything: then these inputs say nothing
            if example is not None:
                raise LayerMapError(
                    f"A forward pass of {type(model).__name__} on the shapes of example= failed with "
                    f"{type(error).__name__}: {first_line(error)}. Give inputs as model(…) takes them: a tensor, a "
                    "tuple of arguments or a mapping of keyword arguments. A model that cannot run on shapes alone "
                    "(it branches on values) goes without example=."
                ) from error
            continue
        if best is None or len(watch.seen.first) > len(best.first):  # an image tower sleeps where only text comes in
            best = watch.seen
        if len(best.first) >= _ENOUGH * len(names):
            break
    return best


def _without_data(model: nn.Module) -> nn.Module:
    """A copy in eval mode whose parameters are on the meta device; small buffers keep their values."""
    memo: dict[int, Any] = {id(p): nn.Parameter(p.detach().to("meta"), requires_grad=False) for p in model.parameters()}
    for module in model.modules():
        for hooks in (module._forward_hooks, module._backward_hooks):
            memo[id(hooks)] = type(hooks)()  # what a caller hung on the model is not to run on its shadow
    shadow = copy.deepcopy(model, memo)
    for module in shadow.modules():  # transformers hangs its own hooks on at the first pass, and once
        module.__dict__.pop("_output_capturing_hooks_installed", None)
    return shadow.eval()


def _call(model: nn.Module, inputs: Any) -> None:
    if isinstance(inputs, Mapping):
        model(**inputs)
    elif isinstance(inputs, Sequence) and not isinstance(inputs, str):
        model(*inputs)
    else:
        model(inputs)


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the first operator that takes each parameter; answers what only data could tell."""

    def __init__(self, names: Mapping[int, str], groups: Mapping[str, int]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._names, self._groups = names, groups
        self._count = 0
        self.seen = Pass()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        self._count += 1
        if self._count > _MOST_OPERATORS:
            raise _TooLong
        flat = [leaf for leaf in pytree.tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        waiting, made_by = self._note(flat)
        out = self._answer(func, args, kwargs, flat)
        if waiting or made_by:
            for leaf in (out,) if isinstance(out, torch.Tensor) else pytree.tree_leaves(out):
                if isinstance(leaf, torch.Tensor) and id(leaf) not in self._names:
                    leaf._waiting = waiting  # type: ignore[attr-defined]
                    leaf._made_by = made_by | getattr(leaf, "_made_by", 0)  # type: ignore[attr-defined]
        return out

    def _note(self, leaves: list[torch.Tensor]) -> tuple[frozenset[str], int]:
        """Note parameters that meet data for the first time.

        Returns:
            The parameters of which the result is a mere form (transposed, cast, `1 + weight`) because no data
            took part yet, and the groups that had a part in the data.
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
            if name not in self.seen.first:
                self.seen.first[name] = self._count
                self.seen.reads[name] = read
            if name in self._groups:
                made_by |= 1 << self._groups[name]
        return frozenset(), made_by

    def _answer(self, func: Any, args: Any, kwargs: Any, flat: list[torch.Tensor]) -> Any:
        if not any(leaf.device.type == "meta" for leaf in flat) and not _grows(flat):
            return func(*args, **_kept_real(args, kwargs))
        answer = _ANSWERS.get(func.overloadpacket)
        if answer is not None:
            return answer(*args, **kwargs)
        if func.overloadpacket in _INDEXED:
            args = (args[0], [place for index in args[1] for place in _places(index)], *args[2:])
        return func(*_on_meta(args), **_on_meta(kwargs))


def _grows(leaves: list[torch.Tensor]) -> bool:
    """Whether tensors with values would make one too large to be computed for nothing."""
    try:
        shape: Sequence[int] = torch.broadcast_shapes(*(leaf.shape for leaf in leaves))  # type: ignore[no-untyped-call]
    except RuntimeError:  # not of one shape: then no operator blows them up
        return False
    return math.prod(tuple(shape)) > _MOST_REAL


def _kept_real(args: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
    """What is made of no weights (positions, masks, lengths) keeps its values: they steer a forward pass."""
    wanted = kwargs.get("device")
    if not isinstance(wanted, torch.device) or wanted.type != "meta":
        return kwargs
    shapes = [leaf for leaf in args if isinstance(leaf, (list, tuple)) and all(isinstance(n, int) for n in leaf)]
    if any(math.prod(shape) > _MOST_REAL for shape in shapes):
        return kwargs
    return {**kwargs, "device": torch.device("cpu")}


def _on_meta(arguments: Any) -> Any:
    """Arguments with every tensor, and every device that is asked for, on the meta device."""
    moved = pytree.tree_map_only(torch.Tensor, _to_meta, arguments)
    if isinstance(moved, dict) and isinstance(moved.get("device"), torch.device):
        moved["device"] = torch.device("meta")
    return moved


def _to_meta(tensor: torch.Tensor) -> torch.Tensor:
    return tensor if tensor.device.type == "meta" else torch.empty_like(tensor, device="meta")


def _places(index: torch.Tensor | None) -> list[torch.Tensor | None]:
    """An index without a boolean mask; of a mask on the meta device nobody knows what it keeps: say, all."""
    if index is None or index.dtype is not torch.bool:
        return [index]
    if index.device.type != "meta":
        return list(index.nonzero().unbind(1))
    return [torch.empty(index.numel(), dtype=torch.int64, device="meta") for _ in range(index.ndim)]


def _scalar(tensor: torch.Tensor, *_: Any) -> bool | int | float:
    if tensor.dtype is torch.bool:
        return True
    return 1.0 if tensor.is_floating_point() else 1


def _nonzero(tensor: torch.Tensor) -> torch.Tensor:
    """All places, for real: a mixture's router iterates over them."""
    return torch.ones(tensor.shape, dtype=torch.bool).nonzero()


def _repeats(repeats: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
    return torch.arange(repeats.numel())


def _masked_select(tensor: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    shape = torch.broadcast_shapes(tensor.shape, mask.shape)  # type: ignore[no-untyped-call]
    return torch.empty((torch.Size(shape).numel(),), dtype=tensor.dtype, device="meta")


_aten = torch.ops.aten
_INDEXED = (_aten.index, _aten.index_put, _aten.index_put_)
_ANSWERS: dict[Any, Callable[..., Any]] = {
    _aten._local_scalar_dense: _scalar,
    _aten.item: _scalar,
    _aten.is_nonzero: lambda *_: True,
    _aten.equal: lambda *_: True,
    _aten.nonzero: _nonzero,
    _aten.masked_select: _masked_select,
    _aten.repeat_interleave: _repeats,
}
