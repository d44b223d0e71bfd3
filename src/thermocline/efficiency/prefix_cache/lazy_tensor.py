"""Tensors that are computed only when somebody needs them.

While a `session.Session` is on, a call of a frozen module gives a `Pending`: it has a shape, a dtype and a name for
how it was made, and no values. What is done with it, outside of frozen modules too, gives another `Pending`. The
moment one meets a weight that trains, its values are wanted: they are taken from a store where the store has them,
and computed the ordinary way where not. So the model's own code says what its trainable part needs of the frozen one
(hidden states; feature maps of several levels), masks and positions are computed as ever, and nothing depends on how
a model is written except how much is saved.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch.utils import _pytree as pytree

if TYPE_CHECKING:
    from thermocline.efficiency.prefix_cache.deferred_calls import Session


class Shelf(Protocol):
    """Where values are kept, by name, for the rows of the batch that is being run."""

    def take(self, name: str) -> torch.Tensor | None:
        """Return the values, or `None` where some of the rows have none."""

    def keep(self, name: str, value: torch.Tensor) -> None:
        """Keep values that were computed."""


@dataclass(frozen=True, slots=True)
class _Output:
    """An output of a call, where it is the input of another."""

    node: Node
    place: int


class Node:
    """One call that has not been made: of a module or of an operator."""

    __slots__ = ("_amp", "_before", "_call", "_inputs", "_name", "deep", "known", "session", "values")

    def __init__(self, session: Session, label: str, call: Callable[..., Any], inputs: Any, *, deep: bool) -> None:
        self._inputs = pytree.tree_map_only(Pending, lambda one: _Output(one.node, one.place), inputs)
        self._before = [leaf for leaf in pytree.tree_leaves(self._inputs) if isinstance(leaf, _Output)]
        self.session, self._call, self._amp = session, call, session.amp()
        self.deep: bool = deep or any(one.node.deep for one in self._before)
        told = bool | str | int if label == "__getitem__" else bool | str
        flags = (str(leaf) for leaf in pytree.tree_leaves(self._inputs) if isinstance(leaf, told))
        parts = [label, *flags, *(one.node.name(one.place) for one in self._before)]
        self._name = hashlib.blake2b("\n".join(parts).encode(), digest_size=8).hexdigest()
        session.called[self._name] += 1
        self.values: list[Any] | None = None
        self.known: dict[int, torch.Tensor] = {}

    def name(self, place: int) -> str:
        """Return a name that tells by which calls an output comes about; shapes and numbers do not enter."""
        return f"{self._name}.{place}"

    @property
    def alone(self) -> bool:
        """Whether no other call of this pass has the same name, as two slices may."""
        return self.session.called[self._name] == 1

    def output(self, place: int) -> Any:
        """Return an output, making the call and those before it that are still to be made."""
        stack = [_Output(self, place)]
        while stack:
            node = stack[-1].node
            waiting = (
                [] if node._has(stack[-1].place) else [one for one in node._before if not one.node._has(one.place)]
            )
            if not node._has(stack[-1].place) and not waiting:
                node._make()
            stack = [*stack, *waiting] if waiting else stack[:-1]
        return self._get(place)

    def _has(self, place: int) -> bool:
        return self.values is not None or place in self.known

    def _get(self, place: int) -> Any:
        return self.known[place] if place in self.known else self.values[place]  # type: ignore[index]

    def _make(self) -> None:
        args, kwargs = pytree.tree_map_only(_Output, lambda one: one.node._get(one.place), self._inputs)
        with _precision(self.session.kind, self._amp):
            self.values = pytree.tree_leaves(self._call(*args, **kwargs))
        self._inputs, self._before = None, []  # what led here is not needed any more, and may be large


@contextmanager
def _precision(kind: str, wanted: tuple[bool, torch.dtype]) -> Iterator[None]:
    """Compute in the precision of another moment."""
    if wanted[0] == torch.is_autocast_enabled(kind):
        yield
        return
    with torch.autocast(kind, dtype=wanted[1], enabled=wanted[0]):
        yield


class Pending(torch.Tensor):
    """An output of a call that has not been made."""

    node: Node
    place: int

    @staticmethod
    def of(like: torch.Tensor, node: Node, place: int) -> Pending:
        """Return the output at a place of a call, of the shape and dtype of `like`."""
        with torch._C.DisableTorchFunctionSubclass():
            out: Pending = torch.Tensor._make_wrapper_subclass(
                Pending, like.shape, strides=like.stride(), dtype=like.dtype, device=like.device
            )
        out.node, out.place = node, place
        return out

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _LOOKS:
            with torch._C.DisableTorchFunctionSubclass():
                return func(*args, **(kwargs or {}))
        first = next(leaf for leaf in pytree.tree_leaves((args, kwargs)) if isinstance(leaf, Pending))
        return first.node.session.operator(func, args, kwargs or {})

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        # code that goes round `__torch_function__`: it gets values
        return func(*settle(args), **settle(kwargs or {}))

    def __repr__(self) -> str:  # type: ignore[override]
        with torch._C.DisableTorchFunctionSubclass():
            return f"Pending({tuple(self.shape)}, {self.dtype})"

    def value(self) -> torch.Tensor:
        """Return the values, from the shelf or computed."""
        return self.node.session.value(self)


def settle(values: Any) -> Any:
    """Return nested values with everything pending in them computed or taken from the shelf."""
    return pytree.tree_map_only(Pending, Pending.value, values)


def outputs(node: Node, like: Any) -> Any:
    """Return what a call would give, tensors as pending ones; `like` says of what shapes."""
    leaves, spec = pytree.tree_flatten(like)
    made = [Pending.of(leaf, node, i) if isinstance(leaf, torch.Tensor) else leaf for i, leaf in enumerate(leaves)]
    return pytree.tree_unflatten(made, spec)


_LOOKS = {
    *(
        getattr(torch.Tensor, name).__get__
        for name in ("shape", "dtype", "device", "ndim", "layout", "requires_grad", "is_cuda", "is_cpu", "is_mps")
    ),
    *(getattr(torch.Tensor, name).__get__ for name in ("is_leaf", "grad_fn", "is_sparse", "is_quantized", "is_meta")),
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
