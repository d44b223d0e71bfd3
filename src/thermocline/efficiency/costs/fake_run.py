"""A model run on fake tensors: shapes, types, devices and storages as in a real step, without its data or arithmetic.

Unlike tensors on the meta device, fake ones take the kernels of the device that they stand for: autocast casts them,
and attention is one fused operator where it is one there. Small tensors that no weight had a part in (masks, positions,
numbers of boxes) keep their values, because forward passes branch on them.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, in_kernel_invocation_manager
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from thermocline.efficiency.costs.storage_count import StorageCount
from thermocline.tuning.layers.meta_dispatch import ASSUMED, INDEXED, TooManyOperators, tensors_in

#: More operators than any step takes; a loop that waits for a value would never end.
_MOST_OPERATORS = 200_000
#: Elements of a tensor without weights in it that is still computed for real.
_MOST_REAL = 1 << 20


class FakeModel:
    """A copy of a model whose parameters are fake.

    Args:
        model: The model, without patches of its modules' `forward`; it is not touched.
        device: Where the run computes; the model itself may still be elsewhere.

    Attributes:
        mode: What the fake tensors belong to.
        model: The copy.
    """

    def __init__(self, model: nn.Module, device: torch.device) -> None:
        self.mode, self._device = FakeTensorMode(allow_non_fake_inputs=True), device
        memo: dict[int, Any] = {
            id(p): nn.Parameter(self._fake(p.detach()), requires_grad=False) for p in model.parameters()
        }
        memo |= {id(one): self._fake(one) for one in model.buffers() if _is_large(one)}
        for module in model.modules():
            for hooks in (module._forward_hooks, module._backward_hooks):
                memo[id(hooks)] = type(hooks)()  # hooks that a caller registered must not run on the copy
        memo |= {id(one): self._placed(one) for one in model.buffers() if id(one) not in memo}
        self.model = copy.deepcopy(model, memo)
        for module in self.model.modules():  # transformers registers its own hooks at the first pass, and once
            module.__dict__.pop("_output_capturing_hooks_installed", None)

    def batch(self, batch: Any) -> Any:
        """Return a nested batch on the run's device whose large tensors are fake; small ones keep their values."""
        make = lambda one: self._fake(one) if _is_large(one) else self._placed(one)  # noqa: E731
        return pytree.tree_map_only(torch.Tensor, make, batch)

    @contextmanager
    def counting(self) -> Iterator[StorageCount]:
        """Run operators on fake tensors inside the context, and count their storages."""
        with _Values(), FakeCount(self.mode) as count:
            yield count

    def _fake(self, tensor: torch.Tensor) -> torch.Tensor:
        with self.mode:
            return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=self._device)

    def _placed(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return a small tensor on the run's device, never the tensor itself: buffers change in a step."""
        return tensor.detach().to(self._device, copy=True)


class FakeCount(StorageCount):  # type: ignore[no-untyped-call]
    """Counts storages, and answers what only data could tell.

    Args:
        mode: What the fake tensors belong to.
    """

    def __init__(self, mode: FakeTensorMode) -> None:
        super().__init__()
        self._mode = mode
        self._operators = 0
        self._forms: dict[Any, Any] = {}

    def run(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """Run one operator and return what it makes."""
        if func is _DEVICE:  # asked of a fake tensor several times an operator
            return args[0].fake_device
        self._operators += 1
        if self._operators > _MOST_OPERATORS:
            raise TooManyOperators
        tensors = tensors_in((args, kwargs))
        if not any(isinstance(one, FakeTensor) for one in tensors):
            if not _makes_large(tensors, args):
                return func(*args, **kwargs)
            with self._mode:
                return func(*args, **kwargs)
        if len(tensors) == 1 and _is_plain_view(func):
            return self._view(func, args, kwargs)
        if func.overloadpacket in _PLAIN:
            return self._plain(func, args, kwargs)
        known = _ANSWERS.get(func.overloadpacket)
        if known is not None:
            return known(*args, **kwargs)
        if func.overloadpacket in INDEXED:
            args = (args[0], [place for index in args[1] for place in _places(index)], *args[2:])
        return func(*args, **kwargs)

    def _view(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """Run a view on shapes, without the lookup of fake tensors, which takes several times as long."""
        with in_kernel_invocation_manager(self._mode):
            out = func(*args, **kwargs)
        device = args[0].fake_device
        if isinstance(out, (list, tuple)):
            return type(out)(FakeTensor(self._mode, one, device) for one in out)
        return FakeTensor(self._mode, out, device)

    def _plain(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """Run an operator with one new output, or make what it made before of tensors of the same form."""
        key = (func, _form(args), _form(tuple(kwargs.items())))
        if key not in self._forms:
            out = func(*args, **kwargs)
            if isinstance(out, FakeTensor):
                self._forms[key] = (out.shape, out.stride(), out.dtype, out.device)
            return out
        shape, stride, dtype, device = self._forms[key]
        meta = torch.empty_strided(shape, stride, dtype=dtype, device="meta")
        return FakeTensor(self._mode, meta, device)


class _Values(TorchFunctionMode):
    """Answers requests for the values of fake tensors as arrays with zeros: a matching of boxes asks for costs."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        asks = func in (torch.Tensor.numpy, torch.Tensor.__array__, torch.Tensor.tolist)
        if asks and isinstance(args[0], FakeTensor):
            args = (torch.zeros(args[0].shape, dtype=args[0].dtype), *args[1:])
        return func(*args, **(kwargs or {}))


@cache
def _is_plain_view(func: Any) -> bool:
    """Whether an operator makes a view, and is none that torch writes in terms of others."""
    composite = torch._C.DispatchKey.CompositeImplicitAutograd
    return bool(func.is_view) and not bool(func.has_kernel_for_dispatch_key(composite))


def _form(value: Any) -> Any:
    """Return what decides about the form of an output: shape, stride, type and device of tensors, and other values."""
    if isinstance(value, torch.Tensor):
        return (tuple(value.shape), value.stride(), value.dtype, value.device)
    if isinstance(value, (list, tuple)):
        return tuple(map(_form, value))
    return (type(value), value)


def _is_large(tensor: torch.Tensor) -> bool:
    return tensor.numel() > _MOST_REAL


def _makes_large(tensors: list[torch.Tensor], args: Any) -> bool:
    """Whether tensors with values, or a size that is asked for, would make one too large to be computed."""
    sizes = [one for one in args if isinstance(one, (list, tuple)) and one and all(isinstance(n, int) for n in one)]
    if any(math.prod(size) > _MOST_REAL for size in sizes):
        return True
    try:
        shape: Sequence[int] = torch.broadcast_shapes(*(one.shape for one in tensors))  # type: ignore[no-untyped-call]
    except RuntimeError:  # shapes that do not broadcast: then no operator enlarges them
        return False
    return math.prod(tuple(shape)) > _MOST_REAL


def _places(index: torch.Tensor | None) -> list[torch.Tensor | None]:
    """An index without a boolean mask; a mask without values is taken to select everything."""
    if index is None or index.dtype is not torch.bool:
        return [index]
    if not isinstance(index, FakeTensor):
        return list(index.nonzero().unbind(1))
    return [index.new_zeros(index.numel(), dtype=torch.int64) for _ in range(index.ndim)]


def _masked_select(tensor: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    shape = torch.broadcast_shapes(tensor.shape, mask.shape)  # type: ignore[no-untyped-call]
    fake = tensor if isinstance(tensor, FakeTensor) else mask
    return fake.new_empty((torch.Size(shape).numel(),), dtype=tensor.dtype)


def _batch_norm(tensor: torch.Tensor, *rest: Any) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """What torch's own formula makes in a hundredth of its time: a network has a hundred of them."""
    training = rest[4]  # after weight, bias, running mean and variance
    width = tensor.shape[1] if training else 0
    one, other = (tensor.new_empty(width, dtype=torch.float32) for _ in range(2))
    return torch.empty_like(tensor), one, other


def _batch_norm_backward(_: Any, tensor: torch.Tensor, weight: Any, *rest: Any) -> tuple[torch.Tensor | None, ...]:
    affine = weight if isinstance(weight, FakeTensor) else tensor
    width = tensor.shape[1]
    made = (torch.empty_like(tensor), affine.new_empty(width), affine.new_empty(width))
    return tuple(one if wanted else None for one, wanted in zip(made, rest[-1], strict=True))


_aten = torch.ops.aten
_DEVICE = torch.ops.prim.device.default
#: Frequent operators with one new output, whose form follows from that of their inputs.
_PLAIN_NAMES = (
    "abs add addmm bmm clamp clone div eq exp ge gelu gelu_backward gt le log lt maximum minimum mm mul ne neg pow "
    "relu sigmoid silu sub sum threshold_backward where"
)
_PLAIN = frozenset(getattr(_aten, name) for name in _PLAIN_NAMES.split())
_ANSWERS: dict[Any, Callable[..., Any]] = {
    **ASSUMED,
    _aten.masked_select: _masked_select,
    _aten.nonzero: lambda tensor: torch.ones(tensor.shape, dtype=torch.bool).nonzero(),
    _aten.native_batch_norm: _batch_norm,
    _aten.native_batch_norm_backward: _batch_norm_backward,
}
