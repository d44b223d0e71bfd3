"""Tensors that are computed only when somebody needs them: how a frozen prefix is passed over.

While a `Session` is on, a call of a frozen module gives a `Pending`: it has a shape, a dtype and a name for how it
was made, and no values. What is done with it, outside of frozen modules too, gives another `Pending`. The moment one
meets a weight that trains, its values are wanted: they are taken from a store where the store has them, and computed
the ordinary way where not. So the model's own code says what its trainable part needs of the frozen one (hidden
states; feature maps of several levels), masks and positions are computed as ever, and nothing depends on how a model
is written except how much is saved.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import nn
from torch.utils import _pytree as pytree

from thermocline.efficiency.shapes import Shapes

_PLAIN = (bool, int, float, complex, str, bytes, type(None), torch.dtype, torch.device, torch.Size)


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
        flags = (str(leaf) for leaf in pytree.tree_leaves(self._inputs) if isinstance(leaf, bool | str))
        parts = [label, *flags, *(one.node.name(one.place) for one in self._before)]
        self._name = hashlib.blake2b("\n".join(parts).encode(), digest_size=8).hexdigest()
        self.values: list[Any] | None = None
        self.known: dict[int, torch.Tensor] = {}

    def name(self, place: int) -> str:
        """Return a name that tells by which calls an output comes about; shapes and numbers do not enter."""
        return f"{self._name}.{place}"

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


class Session:
    """Passes over the frozen modules of a model while `running` is on.

    Args:
        model: The model.
        modules: Names of modules that are frozen and in eval mode, those within them included.
        entries: Names of modules with something to train: what is pending when one is called is wanted.
    """

    def __init__(self, model: nn.Module, modules: Iterable[str], entries: Iterable[str]) -> None:
        self._model = model
        every = dict(model.named_modules())
        self._modules = {name: every[name] for name in modules}
        self._entries = [every[name] for name in entries]
        self._shapes = Shapes(model)
        self.kind = self._shapes.device.type
        self._open: set[str] = set()  # modules that cannot be passed over as a whole: the calls within them can
        self._shelf: Shelf | None = None
        self._working = False
        self._undo: list[Callable[[], None]] = []
        self._entered = False  # whether something that trains ran in this pass
        self._random: list[torch.Tensor] = []  # the state of the generators where the pass began
        self.draws = False  # whether something that was passed over draws random numbers

    @property
    def modules(self) -> Iterable[nn.Module]:
        """The modules that are passed over."""
        return self._modules.values()

    def install(self) -> None:
        """Put the session between the modules and their forward passes."""
        self._undo.append(self._model.register_forward_pre_hook(self._begin).remove)
        for name, module in self._modules.items():
            self._undo.append(_replace_forward(module, self._passing(name, module, module.forward)))
        for module in self._entries:
            self._undo.append(module.register_forward_pre_hook(self._enter, with_kwargs=True).remove)

    def remove(self) -> None:
        """Leave the model as it was before `install`."""
        while self._undo:
            self._undo.pop()()

    @contextmanager
    def running(self, shelf: Shelf) -> Iterator[None]:
        """Pass over frozen modules, with the values of a shelf, in the forward pass that happens inside."""
        self._shelf = shelf
        self._begin()
        try:
            yield
        finally:
            self._shelf = None

    def put_off(self, call: Callable[[], torch.Tensor], shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
        """Return an input of the model that is made by a call when somebody needs it."""
        node = Node(self, "input", call, ((), {}), deep=False)
        return Pending.of(self._shapes.blank(shape, dtype), node, 0)

    def operator(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Put an operator off, unless a weight that trains has part in it or what comes out cannot be told."""
        if _is_idle_dropout(func, kwargs):
            return args[0]
        func, target = _out_of_place(func, args)
        leaves = [leaf for leaf in pytree.tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        now = self._shelf is None or any(_trains(leaf) for leaf in leaves) or self._doubtful(leaves)
        like = None if now else self._shapes.of_operator(func, args, kwargs)
        if like is None or not isinstance(like, (torch.Tensor, tuple, list)):
            out = self._now(func, args, kwargs)
            if target is not None:
                target.node, target.place = Node(self, "", func, ((), {}), deep=False), 0
                target.node.known[0] = out
            return out
        node = Node(self, getattr(func, "__name__", str(func)), func, (args, kwargs), deep=False)
        if target is not None:
            target.node, target.place = node, 0
            return target
        return _outputs(node, like)

    def value(self, pending: Pending) -> torch.Tensor:
        """Return the values of what is pending, and see that the shelf has them."""
        node, place, shelf = pending.node, pending.place, self._shelf
        if place in node.known:
            return node.known[place]
        name = node.name(place) if node.deep and shelf is not None else ""
        value = shelf.take(name) if shelf is not None and name and node.values is None else None
        if value is None:
            value = self._made(node, place, pending)
            if shelf is not None and name:
                shelf.keep(name, value)
        node.known[place] = value
        return value

    def _made(self, node: Node, place: int, like: torch.Tensor) -> torch.Tensor:
        before = _random_states(like.device)
        working, self._working = self._working, True
        try:
            value: torch.Tensor = node.output(place)
        finally:
            self._working = working
        self.draws |= not all(map(torch.equal, before, _random_states(like.device)))
        return value

    def amp(self) -> tuple[bool, torch.dtype]:
        """Return whether autocast is on at this moment, and its dtype."""
        return torch.is_autocast_enabled(self.kind), torch.get_autocast_dtype(self.kind)

    def _passing(self, name: str, module: nn.Module, forward: Callable[..., Any]) -> Callable[..., Any]:
        def passed(*args: Any, **kwargs: Any) -> Any:
            if self._shelf is None or self._working:
                return forward(*args, **kwargs)
            leaves = pytree.tree_leaves((args, kwargs))
            tensors = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]
            plain = all(isinstance(leaf, (torch.Tensor, *_PLAIN)) for leaf in leaves)
            lookup = isinstance(module, nn.Embedding) and not any(isinstance(leaf, Pending) for leaf in tensors)
            trains = any(_trains(leaf) for leaf in tensors) or self._doubtful(tensors)
            if name in self._open or lookup or not plain or not tensors or trains:
                return forward(*args, **kwargs)
            like = self._shapes.of_module(name, args, kwargs)
            if like is None or sum(isinstance(leaf, torch.Tensor) for leaf in pytree.tree_leaves(like)) != 1:
                self._open.add(name)
                return forward(*args, **kwargs)
            return _outputs(Node(self, name, forward, (args, kwargs), deep=True), like)

        return passed

    def _enter(self, module: nn.Module, args: Any, kwargs: Any) -> tuple[Any, Any]:
        if self._working:
            return args, kwargs
        self._entered = self._entered or next(module.parameters(), None) is not None  # a dropout belongs to all
        return self._known(args), self._known(kwargs)

    def _begin(self, *_: Any) -> None:
        if self._shelf is not None and not self._working:
            self._entered, self._random = False, _random_states(self._shapes.device)

    def _doubtful(self, tensors: Iterable[torch.Tensor]) -> bool:
        """Whether a value among these may be another one in the next pass: it is not told by a name.

        Such as what dropout outside of frozen modules leaves, or without gradients what comes from modules that train.
        """
        values = [
            one
            for one in tensors
            if not isinstance(one, (Pending, nn.Parameter)) and one.is_floating_point() and one.dim()
        ]
        if not values:
            return False
        return self._entered or not all(map(torch.equal, self._random, _random_states(self._shapes.device)))

    def _now(self, func: Any, args: Any, kwargs: Any) -> Any:
        return func(*self._known(args), **self._known(kwargs))

    def _known(self, values: Any) -> Any:
        return pytree.tree_map_only(Pending, self.value, values)


def settle(values: Any) -> Any:
    """Return nested values with everything pending in them computed or taken from the shelf."""
    return pytree.tree_map_only(Pending, Pending.value, values)


def _outputs(node: Node, like: Any) -> Any:
    leaves, spec = pytree.tree_flatten(like)
    made = [Pending.of(leaf, node, i) if isinstance(leaf, torch.Tensor) else leaf for i, leaf in enumerate(leaves)]
    return pytree.tree_unflatten(made, spec)


def _trains(tensor: torch.Tensor) -> bool:
    if isinstance(tensor, Pending):  # one that something that trains was written into
        return any(value.requires_grad for value in tensor.node.known.values())
    return tensor.requires_grad


def _random_states(device: torch.device) -> list[torch.Tensor]:
    states = [torch.get_rng_state()]
    if device.type == "cuda":
        states.append(torch.cuda.get_rng_state(device))
    return states


def _is_idle_dropout(func: Any, kwargs: Any) -> bool:
    """Whether this is a dropout of `torch.nn.functional` that drops nothing: then it gives what it is given."""
    named = "dropout" in getattr(func, "__name__", "") and "training" in kwargs
    return named and (not kwargs["training"] or kwargs.get("p") == 0)


def _out_of_place(func: Any, args: Any) -> tuple[Any, Pending | None]:
    """Return the twin of an operator that writes into its first argument, and that argument."""
    name = getattr(func, "__name__", "")
    target = args[0] if args and isinstance(args[0], Pending) else None
    into = name.startswith("__i") or (name.endswith("_") and not name.endswith("__"))
    if target is None or not into:
        return func, None
    twin = f"__{name[3:]}" if name.startswith("__i") else name[:-1]
    found = getattr(torch.Tensor, twin, None)
    return (func, None) if found is None else (found, target)


def _replace_forward(module: nn.Module, forward: Callable[..., Any]) -> Callable[[], None]:
    before: Mapping[str, Any] = dict(vars(module))
    object.__setattr__(module, "forward", forward)

    def undo() -> None:
        if "forward" in before:
            object.__setattr__(module, "forward", before["forward"])
        else:
            vars(module).pop("forward", None)

    return undo


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
