"""A frozen prefix is passed over: the calls of its modules are put off, and mostly never made (see `pending`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from thermocline.efficiency.prefix_cache.call_shapes import Shapes
from thermocline.efficiency.prefix_cache.lazy_tensor import Node, Pending, Shelf, outputs

_PLAIN = (bool, int, float, complex, str, bytes, type(None), torch.dtype, torch.device, torch.Size)


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
        self.called: Counter[str] = Counter()  # the names of this pass
        self._entered = False  # whether something that trains ran in this pass
        self._random: list[torch.Tensor] = []  # the state of the generators where the pass began
        self.draws = False  # whether something that was passed over draws random numbers

    @property
    def modules(self) -> Iterable[nn.Module]:
        """The modules that are passed over."""
        return self._modules.values()

    @property
    def shares_out(self) -> bool:
        """Whether something that was passed over shares rows out by what they hold, as among experts."""
        return self._shapes.shares_out

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
        return outputs(node, like)

    def value(self, pending: Pending) -> torch.Tensor:
        """Return the values of what is pending, and see that the shelf has them."""
        node, place, shelf = pending.node, pending.place, self._shelf
        if place in node.known:
            return node.known[place]
        name = node.name(place) if node.deep and node.alone and shelf is not None else ""
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
            return outputs(Node(self, name, forward, (args, kwargs), deep=True), like)

        return passed

    def _enter(self, module: nn.Module, args: Any, kwargs: Any) -> tuple[Any, Any]:
        if self._working:
            return args, kwargs
        self._entered = self._entered or next(module.parameters(), None) is not None  # a dropout belongs to all
        return self._known(args), self._known(kwargs)

    _enter.harmless = True  # type: ignore[attr-defined]  # it hands on what it is given: see `conv_bn.has_hooks`

    def _begin(self, *_: Any) -> None:
        if self._shelf is not None and not self._working:
            self.called.clear()
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
