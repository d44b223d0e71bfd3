"""What shape and dtype a call would give, without making it."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from thermocline.tuning.random_numbers import RandomNumbers

_MOST_ANSWERS = 50_000  # answers that are remembered
_ROUTING = {
    getattr(torch.ops.aten, name)
    for name in ("_grouped_mm", "bincount", "histc", "masked_select", "nonzero", "nonzero_static")
    if hasattr(torch.ops.aten, name)  # torch 2.6 has no `_grouped_mm`
}


class CallShapes:
    """Answers with fake tensors, which have a shape, a dtype and a device and no data.

    Args:
        model: The model whose modules are asked about. It is copied, without its weights.
    """

    def __init__(self, model: nn.Module) -> None:
        self._mode = FakeTensorMode(allow_non_fake_inputs=True)
        first = next(model.parameters(), None)
        self.device = torch.device("cpu") if first is None else first.device
        self._shadow = dict(self._without_data(model).named_modules())
        self._answers: dict[Any, Any] = {}
        self.routes_rows = False  # whether some call does, see `OperatorWatch`

    def of_module(self, name: str, args: Any, kwargs: Any) -> Any:
        """Return what a call of a module would give, with fake tensors.

        `None` where it depends on values, or where the call draws random numbers, which must keep their order.
        """
        return self._remembered(name, self._shadow[name], args, kwargs)

    def of_operator(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Return what an operator would give, likewise."""
        return self._remembered(func, func, args, kwargs)

    def blank(self, shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
        """Return a fake tensor."""
        with self._mode:
            return torch.empty(tuple(shape), dtype=dtype, device=self.device)

    def _remembered(self, what: Any, call: Any, args: Any, kwargs: Any) -> Any:
        leaves, spec = pytree.tree_flatten((args, kwargs))
        key: Any = (what, spec, torch.is_autocast_enabled(self.device.type), *map(_form, leaves))
        try:
            if key in self._answers:
                return self._answers[key]
        except TypeError:  # an argument that cannot be a key
            key = None
        out = self._answer(call, [self._fake(leaf) for leaf in leaves], spec)
        if key is not None and len(self._answers) < _MOST_ANSWERS:
            self._answers[key] = out
        return out

    def _answer(self, call: Any, leaves: list[Any], spec: Any) -> Any:
        args, kwargs = pytree.tree_unflatten(leaves, spec)
        watch = OperatorWatch()
        try:
            with RandomNumbers(), torch.no_grad(), self._mode, watch:
                out = call(*args, **kwargs)
        except Exception:  # a foreign forward pass may raise anything where values are missing
            return None
        finally:
            self.routes_rows |= watch.routes_rows
        tensors = [leaf for leaf in pytree.tree_leaves(out) if isinstance(leaf, torch.Tensor)]
        known = tensors and all(isinstance(leaf, FakeTensor) for leaf in tensors)
        return out if known and not watch.draws_random else None

    def _fake(self, leaf: Any) -> Any:
        if not isinstance(leaf, torch.Tensor) or isinstance(leaf, FakeTensor):
            return leaf
        with torch._C.DisableTorchFunctionSubclass(), self._mode:
            return torch.empty_strided(tuple(leaf.shape), leaf.stride(), dtype=leaf.dtype, device=leaf.device)

    def _without_data(self, model: nn.Module) -> nn.Module:
        memo: dict[int, Any] = {}
        for parameter in model.parameters():
            memo[id(parameter)] = nn.Parameter(self._fake(parameter.detach()), requires_grad=False)
        for module in model.modules():
            for held in _held_tensors(module):
                memo[id(held)] = self._fake(held.detach())
            for hooks in (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks):
                memo[id(hooks)] = type(hooks)()
        shadow = copy.deepcopy(model, memo).eval()
        for module in shadow.modules():
            vars(module).pop("forward", None)  # one that was put in its place would still run the model itself
        return shadow


class OperatorWatch(TorchDispatchMode):
    """Watches operators.

    Attributes:
        draws_random: Whether a random number was drawn: by dropout in train mode, but not by attention with a dropout
            of 0.
        routes_rows: Whether rows were routed by their values, as to experts: which of them are computed together, and
            with it the rounding, changes from batch to batch.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.draws_random = self.routes_rows = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if torch.Tag.nondeterministic_seeded in func.tags:
            wanted = func._schema.arguments
            given = {one.name: one.default_value for one in wanted if one.has_default_value()}
            given |= dict(zip((one.name for one in wanted), args, strict=False)) | kwargs
            self.draws_random |= bool(given.get("dropout_p", True)) and given.get("train") is not False
        chosen = args[1] if func is torch.ops.aten.index.Tensor else ()
        self.routes_rows |= func.overloadpacket in _ROUTING or any(
            one is not None and one.dtype == torch.bool for one in chosen
        )
        return func(*args, **kwargs)


def _held_tensors(module: nn.Module) -> Iterator[torch.Tensor]:
    """Yield tensors that a module has computed earlier and holds in no parameter; they cannot be copied."""
    for value in vars(module).values():
        inside = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else [value]
        yield from (one for one in inside if isinstance(one, torch.Tensor) and not one.is_leaf)


def _form(leaf: Any) -> Any:
    if not isinstance(leaf, torch.Tensor):
        return type(leaf), leaf
    with torch._C.DisableTorchFunctionSubclass():
        return tuple(leaf.shape), leaf.stride(), leaf.dtype
