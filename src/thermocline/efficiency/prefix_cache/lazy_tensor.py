"""Tensors that are computed only when their values are needed.

While `deferred_calls.DeferredCalls` is active, a call of a frozen module returns a `LazyTensor`: it has a shape, a
dtype and a name for how it was made, but no values. Operators on it, also outside of frozen modules, return further
lazy tensors. When one meets a weight that trains, its values are needed: they are read from a store where it has them,
and computed as usual where not. So the model's own code decides what its trainable part needs of the frozen one
(hidden states; feature maps of several levels), masks and positions are computed as usual, and how a model is written
changes only how much is saved.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch.utils import _pytree as pytree


class Deferral(Protocol):
    """What lazy tensors ask of the object that made them; see `deferred_calls.DeferredCalls`.

    Attributes:
        device_type: Of the model: `cpu`, `cuda`, …
        call_counts: How many calls of the current pass have each name.
    """

    device_type: str
    call_counts: Counter[str]

    def autocast_state(self) -> tuple[bool, torch.dtype]:
        """Return whether autocast is on at this moment, and its dtype."""

    def operator(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Return what an operator on lazy tensors gives: lazy where possible."""

    def values_of(self, tensor: LazyTensor) -> torch.Tensor:
        """Return the values of a lazy tensor."""


@dataclass(frozen=True, slots=True)
class _Output:
    """An output of a deferred call, as the input of another."""

    call: DeferredCall
    index: int


class DeferredCall:
    """A call of a module or of an operator that has not been made.

    Args:
        deferral: Made it.
        label: The name of the module or operator.
        function: What is to be called.
        inputs: Its arguments `(args, kwargs)`.
        is_frozen_module: Whether it is a call of a frozen module.

    Attributes:
        uses_frozen: Whether a frozen module has part in its outputs; only such outputs are stored.
        outputs: All its outputs, once it was made.
        values: Outputs that are known, by index: made, or read from a store.
    """

    __slots__ = (
        "_autocast",
        "_function",
        "_inputs",
        "_name",
        "_sources",
        "deferral",
        "outputs",
        "uses_frozen",
        "values",
    )

    def __init__(
        self, deferral: Deferral, label: str, function: Callable[..., Any], inputs: Any, *, is_frozen_module: bool
    ) -> None:
        self._inputs = pytree.tree_map_only(LazyTensor, lambda one: _Output(one.call, one.output_index), inputs)
        self._sources = [leaf for leaf in pytree.tree_leaves(self._inputs) if isinstance(leaf, _Output)]
        self.deferral, self._function, self._autocast = deferral, function, deferral.autocast_state()
        self.uses_frozen: bool = is_frozen_module or any(one.call.uses_frozen for one in self._sources)
        named = bool | str | int if label == "__getitem__" else bool | str
        flags = (str(leaf) for leaf in pytree.tree_leaves(self._inputs) if isinstance(leaf, named))
        parts = [label, *flags, *(one.call.name(one.index) for one in self._sources)]
        self._name = hashlib.blake2b("\n".join(parts).encode(), digest_size=8).hexdigest()
        deferral.call_counts[self._name] += 1
        self.outputs: list[Any] | None = None
        self.values: dict[int, torch.Tensor] = {}

    def name(self, index: int) -> str:
        """Return a name that tells by which calls an output is made; shapes and numbers have no part in it."""
        return f"{self._name}.{index}"

    @property
    def name_is_unique(self) -> bool:
        """Whether no other call of this pass has the same name, as two slices may."""
        return self.deferral.call_counts[self._name] == 1

    def output(self, index: int) -> Any:
        """Return an output; this call is made, and those before it, where they were not."""
        stack = [_Output(self, index)]
        while stack:
            call, wanted = stack[-1].call, stack[-1].index
            missing = [] if call._has(wanted) else [one for one in call._sources if not one.call._has(one.index)]
            if not call._has(wanted) and not missing:
                call._make()
            stack = [*stack, *missing] if missing else stack[:-1]
        return self._get(index)

    def _has(self, index: int) -> bool:
        return self.outputs is not None or index in self.values

    def _get(self, index: int) -> Any:
        return self.values[index] if index in self.values else self.outputs[index]  # type: ignore[index]

    def _make(self) -> None:
        args, kwargs = pytree.tree_map_only(_Output, lambda one: one.call._get(one.index), self._inputs)
        with _autocast(self.deferral.device_type, self._autocast):
            self.outputs = pytree.tree_leaves(self._function(*args, **kwargs))
        self._inputs, self._sources = None, []  # not needed any more, and may be large


@contextmanager
def _autocast(device_type: str, wanted: tuple[bool, torch.dtype]) -> Iterator[None]:
    """Compute in the precision of the moment when a call was deferred."""
    if wanted[0] == torch.is_autocast_enabled(device_type):
        yield
        return
    with torch.autocast(device_type, dtype=wanted[1], enabled=wanted[0]):
        yield


class LazyTensor(torch.Tensor):
    """An output of a call that has not been made.

    Attributes:
        call: The call.
        output_index: Which of its outputs this is.
    """

    call: DeferredCall
    output_index: int

    @staticmethod
    def of(like: torch.Tensor, call: DeferredCall, index: int) -> LazyTensor:
        """Return an output of a call, of the shape and dtype of `like`."""
        with torch._C.DisableTorchFunctionSubclass():
            out: LazyTensor = torch.Tensor._make_wrapper_subclass(
                LazyTensor, like.shape, strides=like.stride(), dtype=like.dtype, device=like.device
            )
        out.call, out.output_index = call, index
        return out

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _NEEDS_NO_VALUES:
            with torch._C.DisableTorchFunctionSubclass():
                return func(*args, **(kwargs or {}))
        first = next(leaf for leaf in pytree.tree_leaves((args, kwargs)) if isinstance(leaf, LazyTensor))
        return first.call.deferral.operator(func, args, kwargs or {})

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        # code that does not go through `__torch_function__` gets values
        return func(*computed(args), **computed(kwargs or {}))

    def __repr__(self) -> str:  # type: ignore[override]
        with torch._C.DisableTorchFunctionSubclass():
            return f"LazyTensor({tuple(self.shape)}, {self.dtype})"

    def replaced_by(self, call: DeferredCall) -> LazyTensor:
        """Make this the first output of another call, after an operator wrote into it."""
        self.call, self.output_index = call, 0
        return self

    def compute(self) -> torch.Tensor:
        """Return the values, read from a store or computed."""
        return self.call.deferral.values_of(self)


def computed(values: Any) -> Any:
    """Return nested values with every lazy tensor in them computed or read from a store."""
    return pytree.tree_map_only(LazyTensor, LazyTensor.compute, values)


def lazy_outputs(call: DeferredCall, like: Any) -> Any:
    """Return what a call would give, with lazy tensors of the shapes of those in `like`."""
    leaves, spec = pytree.tree_flatten(like)
    lazy = [LazyTensor.of(leaf, call, i) if isinstance(leaf, torch.Tensor) else leaf for i, leaf in enumerate(leaves)]
    return pytree.tree_unflatten(lazy, spec)


_PROPERTIES = (
    *("shape", "dtype", "device", "ndim", "layout", "requires_grad", "is_cuda", "is_cpu", "is_mps"),
    *("is_leaf", "grad_fn", "is_sparse", "is_quantized", "is_meta"),
)
_NEEDS_NO_VALUES = {
    *(getattr(torch.Tensor, name).__get__ for name in _PROPERTIES),
    torch.Tensor.size,
    torch.Tensor.dim,
    torch.Tensor.stride,
    torch.Tensor.numel,
    torch.Tensor.nelement,
    torch.Tensor.is_contiguous,
    torch.Tensor.is_floating_point,
    torch.Tensor.is_complex,
    torch.Tensor.element_size,
    torch.Tensor.get_device,
    torch.Tensor.__len__,
}
