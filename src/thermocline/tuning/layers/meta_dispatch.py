"""Operators answered from shapes alone: a dispatch mode for a model whose parameters are on the meta device.

What an operator makes of a meta tensor is a meta tensor, so a forward pass costs about as much as its Python. Tensors
that no weight had a part in (positions, masks, lengths) keep their values, because forward passes branch on them.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

#: More operators than any backbone calls; a loop that waits for a value would never end.
_MOST_OPERATORS = 60_000
#: Elements of a tensor without weights in it that is still computed for real.
_MOST_REAL = 1 << 20


class TooManyOperators(RuntimeError):
    """A forward pass that does not end."""


def copy_to_meta(model: nn.Module) -> nn.Module:
    """Return a copy in eval mode whose parameters are on the meta device; small buffers keep their values."""
    memo: dict[int, Any] = {id(p): nn.Parameter(p.detach().to("meta"), requires_grad=False) for p in model.parameters()}
    for module in model.modules():
        for hooks in (module._forward_hooks, module._backward_hooks):
            memo[id(hooks)] = type(hooks)()  # hooks that a caller registered must not run on the copy
    shadow = copy.deepcopy(model, memo)
    for module in shadow.modules():  # transformers registers its own hooks at the first pass, and once
        module.__dict__.pop("_output_capturing_hooks_installed", None)
    return shadow.eval()


class MetaDispatch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Runs operators on shapes alone, answers what only data could tell, and counts them.

    A subclass watches what runs by overriding `watch`.

    Args:
        one_place: Whether one place of a tensor without values counts as nonzero; else all do. A mixture's router
            then calls one expert, which is enough where one parameter holds all experts.

    Attributes:
        count: Operators so far.
        chose: Whether `one_place` made a difference so far.
    """

    def __init__(self, *, one_place: bool = False) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0
        self.chose = False
        self._one_place = one_place

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        if self.count > _MOST_OPERATORS:
            raise TooManyOperators
        return self.watch(func, args, kwargs or {})

    def watch(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """Run one operator and return what it makes."""
        return self.answer(func, args, kwargs, tensors_in((args, kwargs)))

    def answer(self, func: Any, args: Any, kwargs: dict[str, Any], tensors: list[torch.Tensor]) -> Any:
        """Return what an operator makes.

        Args:
            func: The operator.
            args: Its arguments.
            kwargs: Its keyword arguments.
            tensors: The tensors among them.
        """
        if not any(tensor.device.type == "meta" for tensor in tensors) and not _grows(tensors):
            return func(*args, **_kept_real(args, kwargs))
        if func.overloadpacket is _aten.nonzero:
            return self._nonzero(args[0])
        known = _ANSWERS.get(func.overloadpacket)
        if known is not None:
            return known(*args, **kwargs)
        if func.overloadpacket in INDEXED:
            args = (args[0], [place for index in args[1] for place in _places(index)], *args[2:])
            tensors = tensors_in(args)
        if kwargs.get("device") is None and all(tensor.device.type == "meta" for tensor in tensors):
            return func(*args, **kwargs)
        return func(*_on_meta(args), **_on_meta(kwargs))

    def _nonzero(self, tensor: torch.Tensor) -> torch.Tensor:
        """The places that count as nonzero, as real values: a mixture's router iterates over them."""
        self.chose = True
        if self._one_place:
            return torch.zeros(min(tensor.numel(), 1), tensor.ndim, dtype=torch.int64)
        return torch.ones(tensor.shape, dtype=torch.bool).nonzero()


def tensors_in(values: Any) -> list[torch.Tensor]:
    """Return the tensors in nested lists, tuples and dicts: what operators take and make; pytree takes much longer."""
    if isinstance(values, torch.Tensor):
        return [values]
    if isinstance(values, dict):
        values = values.values()
    elif not isinstance(values, (list, tuple)):
        return []
    found: list[torch.Tensor] = []
    for value in values:
        if isinstance(value, torch.Tensor):
            found.append(value)
        elif isinstance(value, (list, tuple, dict)):
            found += tensors_in(value)
    return found


def _grows(leaves: list[torch.Tensor]) -> bool:
    """Whether tensors with values would make one too large to be computed."""
    try:
        shape: Sequence[int] = torch.broadcast_shapes(*(leaf.shape for leaf in leaves))  # type: ignore[no-untyped-call]
    except RuntimeError:  # shapes that do not broadcast: then no operator enlarges them
        return False
    return math.prod(tuple(shape)) > _MOST_REAL


def _kept_real(args: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
    """Keyword arguments that let a new tensor without weights in it keep its values, unless it is large."""
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
    """An index without a boolean mask; a mask on the meta device is taken to select everything."""
    if index is None or index.dtype is not torch.bool:
        return [index]
    if index.device.type != "meta":
        return list(index.nonzero().unbind(1))
    return [torch.empty(index.numel(), dtype=torch.int64, device="meta") for _ in range(index.ndim)]


def _scalar(tensor: torch.Tensor, *_: Any) -> bool | int | float:
    if tensor.dtype is torch.bool:
        return True
    return 1.0 if tensor.is_floating_point() else 1


def _repeats(repeats: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
    return torch.arange(repeats.numel())


def _masked_select(tensor: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    shape = torch.broadcast_shapes(tensor.shape, mask.shape)  # type: ignore[no-untyped-call]
    return torch.empty((torch.Size(shape).numel(),), dtype=tensor.dtype, device="meta")


_aten = torch.ops.aten
INDEXED = (_aten.index, _aten.index_put, _aten.index_put_)
"""Operators whose indices may be masks."""
ASSUMED: dict[Any, Callable[..., Any]] = {
    _aten._local_scalar_dense: _scalar,
    _aten.item: _scalar,
    _aten.is_nonzero: lambda *_: True,
    _aten.equal: lambda *_: True,
    _aten.repeat_interleave: _repeats,
}
"""Answers to what depends on values that tensors without data do not have."""
_ANSWERS = {**ASSUMED, _aten.masked_select: _masked_select}
