"""Calls of frozen modules are deferred, and mostly never made: their outputs are lazy tensors (see `lazy_tensor`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import nn
from torch.utils import _pytree as pytree

from thermocline.efficiency.prefix_cache.call_shapes import CallShapes
from thermocline.efficiency.prefix_cache.lazy_tensor import DeferredCall, LazyTensor, lazy_outputs

_PLAIN = (bool, int, float, complex, str, bytes, type(None), torch.dtype, torch.device, torch.Size)


class BatchStore(Protocol):
    """Stored values, by name, for the rows of the batch in the current pass."""

    def read(self, name: str) -> torch.Tensor | None:
        """Return the values, or `None` where some of the rows have none."""

    def write(self, name: str, value: torch.Tensor) -> None:
        """Store values that were computed."""


class DeferredCalls:
    """Defers the calls of a model's frozen modules while `active`.

    Args:
        model: The model.
        modules: Names of modules that are frozen and in eval mode, those within them included.
        trained: Names of modules with something to train: lazy inputs of such a module are computed when it is called.

    Attributes:
        device_type: Of the model: `cpu`, `cuda`, …
        call_counts: How many deferred calls of the current pass have each name.
        draws_random: Whether something that was deferred draws random numbers.
    """

    def __init__(self, model: nn.Module, modules: Iterable[str], trained: Iterable[str]) -> None:
        self._model = model
        every = dict(model.named_modules())
        self._modules = {name: every[name] for name in modules}
        self._trained = [every[name] for name in trained]
        self._shapes = CallShapes(model)
        self.device_type = self._shapes.device.type
        self._not_deferrable: set[str] = set()  # modules that are called, while calls within them can be deferred
        self._store: BatchStore | None = None
        self._computing = False
        self._undo: list[Callable[[], None]] = []
        self.call_counts: Counter[str] = Counter()
        self._trained_ran = False  # whether something that trains ran in this pass
        self._random = _random_states(torch.device("cpu"))  # the state of the generators when the pass began
        self.draws_random = False

    @property
    def modules(self) -> Iterable[nn.Module]:
        """The modules whose calls are deferred."""
        return self._modules.values()

    @property
    def routes_rows(self) -> bool:
        """Whether something that was deferred routes rows by their values, as to experts."""
        return self._shapes.routes_rows

    def install(self) -> None:
        """Replace the modules' forward passes by deferring ones."""
        self._undo.append(self._model.register_forward_pre_hook(self._begin_pass).remove)
        for name, module in self._modules.items():
            self._undo.append(_replace_forward(module, self._deferring(name, module, module.forward)))
        for module in self._trained:
            self._undo.append(module.register_forward_pre_hook(self._compute_inputs, with_kwargs=True).remove)

    def remove(self) -> None:
        """Leave the model as it was before `install`."""
        while self._undo:
            self._undo.pop()()

    @contextmanager
    def active(self, store: BatchStore) -> Iterator[None]:
        """Defer calls in the forward pass inside this context, with the values of a store."""
        self._store = store
        self._begin_pass()
        try:
            yield
        finally:
            self._store = None

    def lazy_input(
        self, name: str, make: Callable[[], torch.Tensor], shape: Sequence[int], dtype: torch.dtype
    ) -> LazyTensor:
        """Return an input of the model that is made only when its values are needed."""
        call = DeferredCall(self, name, make, ((), {}), is_frozen_module=False)
        return LazyTensor.of(self._shapes.blank(shape, dtype), call, 0)

    # what lazy tensors ask for

    def operator(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Defer an operator, unless a weight that trains has part in it or the shape of its output is not known."""
        if _is_inactive_dropout(func, kwargs):
            return args[0]
        func, target = _out_of_place(func, args)
        like = self._shapes.of_operator(func, args, kwargs) if self._may_defer(_tensors((args, kwargs))) else None
        if isinstance(like, (torch.Tensor, tuple, list)):
            label = getattr(func, "__name__", str(func))
            call = DeferredCall(self, label, func, (args, kwargs), is_frozen_module=False)
            return lazy_outputs(call, like) if target is None else target.replaced_by(call)
        out = func(*self._computed(args), **self._computed(kwargs))
        if target is not None:
            call = DeferredCall(self, "", func, ((), {}), is_frozen_module=False)
            call.values[0] = out
            target.replaced_by(call)
        return out

    def values_of(self, tensor: LazyTensor) -> torch.Tensor:
        """Return the values of a lazy tensor, and write them to the store where they belong there."""
        call, index, store = tensor.call, tensor.output_index, self._store
        if index in call.values:
            return call.values[index]
        name = call.name(index) if call.uses_frozen and call.name_is_unique and store is not None else ""
        value = store.read(name) if store is not None and name and call.outputs is None else None
        if value is None:
            value = self._made(call, index, tensor.device)
            if store is not None and name:
                store.write(name, value)
        call.values[index] = value
        return value

    def autocast_state(self) -> tuple[bool, torch.dtype]:
        """Return whether autocast is on at this moment, and its dtype."""
        return torch.is_autocast_enabled(self.device_type), torch.get_autocast_dtype(self.device_type)

    def _made(self, call: DeferredCall, index: int, device: torch.device) -> torch.Tensor:
        before = _random_states(device)
        computing, self._computing = self._computing, True
        try:
            value: torch.Tensor = call.output(index)
        finally:
            self._computing = computing
        self.draws_random |= not _same(before, _random_states(device))
        return value

    # what is deferred

    def _deferring(self, name: str, module: nn.Module, forward: Callable[..., Any]) -> Callable[..., Any]:
        def deferred(*args: Any, **kwargs: Any) -> Any:
            if self._store is None or self._computing or not self._deferrable(name, module, (args, kwargs)):
                return forward(*args, **kwargs)
            like = self._shapes.of_module(name, args, kwargs)
            if len(_tensors(like)) != 1:
                self._not_deferrable.add(name)
                return forward(*args, **kwargs)
            return lazy_outputs(DeferredCall(self, name, forward, (args, kwargs), is_frozen_module=True), like)

        return deferred

    def _deferrable(self, name: str, module: nn.Module, inputs: Any) -> bool:
        """Whether a call of a frozen module can be deferred; reading a row of embeddings takes no time."""
        leaves, tensors = pytree.tree_leaves(inputs), _tensors(inputs)
        plain = all(isinstance(leaf, (torch.Tensor, *_PLAIN)) for leaf in leaves)
        if name in self._not_deferrable or not plain or not tensors:
            return False
        if isinstance(module, nn.Embedding) and not any(isinstance(leaf, LazyTensor) for leaf in tensors):
            return False
        return self._may_defer(tensors)

    def _may_defer(self, tensors: Sequence[torch.Tensor]) -> bool:
        """Whether a call on these tensors gives the same in every pass, and nothing in it trains."""
        return self._store is not None and not any(map(_trains, tensors)) and not self._may_differ(tensors)

    def _may_differ(self, tensors: Iterable[torch.Tensor]) -> bool:
        """Whether a value among these may be another one in the next pass, which its name does not show.

        Such as the output of dropout outside of frozen modules, or without gradients that of modules that train.
        """
        values = [
            one
            for one in tensors
            if not isinstance(one, (LazyTensor, nn.Parameter)) and one.is_floating_point() and one.dim()
        ]
        if not values:
            return False
        return self._trained_ran or not _same(self._random, _random_states(self._shapes.device))

    def _compute_inputs(self, module: nn.Module, args: Any, kwargs: Any) -> tuple[Any, Any]:
        if self._computing:
            return args, kwargs
        # one without parameters, such as a dropout, belongs to all layers
        self._trained_ran = self._trained_ran or next(module.parameters(), None) is not None
        return self._computed(args), self._computed(kwargs)

    _compute_inputs.harmless = True  # type: ignore[attr-defined]  # it changes no input: see `conv_bn.has_hooks`

    def _begin_pass(self, *_: Any) -> None:
        if self._store is not None and not self._computing:
            self.call_counts.clear()
            self._trained_ran, self._random = False, _random_states(self._shapes.device)

    def _computed(self, values: Any) -> Any:
        return pytree.tree_map_only(LazyTensor, self.values_of, values)


def _tensors(values: Any) -> list[torch.Tensor]:
    return [leaf for leaf in pytree.tree_leaves(values) if isinstance(leaf, torch.Tensor)]


def _trains(tensor: torch.Tensor) -> bool:
    if isinstance(tensor, LazyTensor):  # something that trains was written into it
        return any(value.requires_grad for value in tensor.call.values.values())
    return tensor.requires_grad


def _random_states(device: torch.device) -> tuple[torch.Tensor, int, int]:
    """Return the state of the CPU's generator, and of a GPU's its seed and how much it gave: no copy is made of it."""
    if device.type != "cuda":
        return torch.get_rng_state(), 0, 0
    index = torch.cuda.current_device() if device.index is None else device.index
    generator = torch.cuda.default_generators[index]
    return torch.get_rng_state(), generator.initial_seed(), generator.get_offset()


def _same(one: tuple[torch.Tensor, int, int], other: tuple[torch.Tensor, int, int]) -> bool:
    return one[1:] == other[1:] and torch.equal(one[0], other[0])


def _is_inactive_dropout(func: Any, kwargs: Any) -> bool:
    """Whether this is a dropout of `torch.nn.functional` that drops nothing: then it returns its input."""
    named = "dropout" in getattr(func, "__name__", "") and "training" in kwargs
    return named and (not kwargs["training"] or kwargs.get("p") == 0)


def _out_of_place(func: Any, args: Any) -> tuple[Any, LazyTensor | None]:
    """Return the out-of-place version of an operator that writes into its first argument, and that argument."""
    name = getattr(func, "__name__", "")
    target = args[0] if args and isinstance(args[0], LazyTensor) else None
    in_place = name.startswith("__i") or (name.endswith("_") and not name.endswith("__"))
    if target is None or not in_place:
        return func, None
    found = getattr(torch.Tensor, f"__{name[3:]}" if name.startswith("__i") else name[:-1], None)
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
