"""One pass on shapes alone, every operator counted for the layer that runs it.

An operator belongs to the layer whose module runs. Between modules it belongs to the layer whose parameter it takes
(a position embedding added by the model itself), else to the last layer that its inputs depend on; where they depend on
none (pixels are normalised), to the next one that runs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree
from torch.utils.flop_counter import flop_registry

from thermocline.tuning.layers.layer_map import LayerMap
from thermocline.tuning.layers.meta_dispatch import MetaDispatch, tensors_in
from thermocline.tuning.random_numbers import RandomNumbers

_aten = torch.ops.aten
#: Operators that only allocate.
_FREE = {_aten.empty, _aten.empty_like, _aten.new_empty, _aten.empty_strided, _aten.new_empty_strided, _aten.detach}
#: Operations of the backward pass of fused attention relative to the forward pass: such kernels save neither the scores
#: of attention nor their softmax, so that they compute 5 products where the forward pass computes 2.
_FUSED_BACKWARD = 2.5


@dataclass
class Work:
    """Operations (multiplications and additions), bytes read and written, random numbers drawn."""

    flops: float = 0.0
    moved: float = 0.0
    drawn: float = 0.0

    def add(self, flops: float, moved: float, drawn: float = 0.0) -> None:
        """Count some more."""
        self.flops += flops
        self.moved += moved
        self.drawn += drawn


@dataclass
class Counts:
    """What one pass counts.

    Attributes:
        order: The numbers of the layers, in the order in which they first ran.
        forward: By layer.
        gradients: By the layer that runs the operator, and by the layers (a bit each) that the input which the gradient
            is for depends on: it is computed where one of them trains.
        masks: By layer, those of the inputs of all its operators. (An operator that joins towers counts for one.)
        saved: Bytes saved for the backward pass, by the layers (a bit each) that save them.
        inputs: Bytes of a layer's inputs.
        outputs: Bytes of its outputs.
        norms: By the name of each BatchNorm, its layer and the bytes of its input.
    """

    order: list[int] = field(default_factory=list)
    forward: dict[int, Work] = field(default_factory=lambda: defaultdict(Work))
    gradients: dict[tuple[int, int], Work] = field(default_factory=lambda: defaultdict(Work))
    masks: dict[int, set[int]] = field(default_factory=lambda: defaultdict(set))
    saved: dict[int, float] = field(default_factory=lambda: defaultdict(float))
    inputs: dict[int, float] = field(default_factory=lambda: defaultdict(float))
    outputs: dict[int, float] = field(default_factory=lambda: defaultdict(float))
    norms: dict[str, tuple[int, float]] = field(default_factory=dict)


class Trace(MetaDispatch):  # type: ignore[no-untyped-call]
    """Counts what a model without data runs.

    Args:
        model: With parameters on the meta device, in the modes and with the `requires_grad` wanted.
        layer_map: Its layers.
        device: The kind of device whose kernels are meant: `cpu`, `cuda` or another.
    """

    def __init__(self, model: nn.Module, layer_map: LayerMap, device: str) -> None:
        super().__init__()
        self.counts = Counts()
        self.device = device
        self._model = model
        parameters = dict(model.named_parameters(remove_duplicate=False))
        self._owner = {
            _key(parameters[name]): number for number, layer in enumerate(layer_map) for name in layer.parameters
        }
        self._modules = _entries(model, layer_map)
        self._held = {*self._owner, *map(_key, model.buffers())}
        self._reads = {key: 1 << number for key, number in self._owner.items()}
        self._maker: dict[int, int] = {}
        self._alive: list[torch.Tensor] = []  # the address of a storage identifies it only while it exists
        self._stack: list[int] = []
        self._early = Work()
        self._savers: dict[int, tuple[int, float]] = {}

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Count all operators inside the context."""
        handles = []
        for name, number in self._modules.items():
            module = self._model.get_submodule(name)
            handles.append(module.register_forward_pre_hook(self._entering(number), with_kwargs=True))
            handles.append(module.register_forward_hook(self._leaving(number), always_call=True))
        norms = nn.modules.batchnorm._BatchNorm
        for name, module in self._model.named_modules():
            if isinstance(module, norms):
                handles.append(module.register_forward_pre_hook(self._norming(name)))
        hooks = torch.autograd.graph.saved_tensors_hooks(self._saving, lambda saved: saved)
        try:
            with RandomNumbers(), torch.enable_grad(), hooks, self, _Attention(self):
                yield
        finally:
            for handle in handles:
                handle.remove()
        for savers, size in self._savers.values():
            self.counts.saved[savers] += size

    def watch(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """Run one operator and count it."""
        flat = tensors_in((args, kwargs))
        out = self.answer(func, args, kwargs, flat)
        made = tensors_in(out)
        inside = {_key(leaf) for leaf in flat}
        fresh = func._schema.is_mutable or any(_key(leaf) not in inside for leaf in made)
        if not fresh or func.overloadpacket in _FREE:
            self._pass_on(flat, made)
            return out
        formula = flop_registry.get(func.overloadpacket)
        flops = float(formula(*args, **kwargs, out_val=out)) if formula is not None else 0.0
        drawn = sum(leaf.numel() for leaf in made) if torch.Tag.nondeterministic_seeded in func.tags else 0
        self.record(flat, made, flops, backward=1.0, drawn=drawn)
        return out

    def record(
        self,
        inputs: list[torch.Tensor],
        made: list[torch.Tensor],
        flops: float,
        *,
        backward: float,
        joint: bool = False,
        drawn: int = 0,
    ) -> None:
        """Count an operator.

        Args:
            inputs: Its tensors.
            made: What it returns.
            flops: Its operations.
            backward: How many times these each gradient takes.
            joint: Whether all gradients are computed at once.
            drawn: Random numbers in what it returns.
        """
        label = self._label(inputs)
        # weights are read once a batch, not once a row (and a table of embeddings never as a whole)
        moved = float(sum(_size(leaf) for leaf in (*inputs, *made) if _key(leaf) not in self._owner))
        (self._early if label is None else self.counts.forward[label]).add(flops, moved, drawn)
        self._pass_on(inputs, made, label)
        if label is None or not any(leaf.is_floating_point() for leaf in made):
            return
        takes = [leaf for leaf in inputs if leaf.is_floating_point() and self._reads.get(_key(leaf))]
        masks = [self._reads[_key(leaf)] for leaf in takes]
        if self._stack:
            self.counts.masks[label].update(masks)
        if flops and not joint:
            for mask in [one for leaf, one in zip(takes, masks, strict=True) if leaf.dim() > 1][-2:]:  # no bias
                self.counts.gradients[label, mask].add(backward * flops, moved)
        elif masks:
            self.counts.gradients[label, _union(masks)].add(backward * flops, moved)

    def _label(self, inputs: list[torch.Tensor]) -> int | None:
        if self._stack:
            return self._stack[-1]
        keys = [_key(leaf) for leaf in inputs]
        owners = [self._owner[key] for key in keys if key in self._owner]
        if owners:
            return owners[0]
        makers = [self._maker[key] for key in keys if key in self._maker]
        order = self.counts.order
        return max(makers, key=lambda number: order.index(number) if number in order else -1, default=None)

    def _pass_on(self, inputs: list[torch.Tensor], made: list[torch.Tensor], label: int | None = None) -> None:
        """Note which layers the outputs depend on, and which one made them."""
        keys = [_key(leaf) for leaf in inputs]
        mask = _union([self._reads.get(key, 0) for key in keys])
        makers = [self._maker[key] for key in keys if key in self._maker]
        for leaf in made:
            key = _key(leaf)
            self._alive.append(leaf)
            if mask and key not in self._owner and leaf.is_floating_point():
                self._reads[key] = self._reads.get(key, 0) | mask
            if label is not None:
                self._maker[key] = label
            elif makers:
                self._maker.setdefault(key, makers[-1])

    def _saving(self, saved: torch.Tensor) -> torch.Tensor:
        key = _key(saved)
        if key not in self._held and saved.device.type == "meta":
            number = self._stack[-1] if self._stack else self._maker.get(key)
            before, size = self._savers.get(key, (0, 0.0))
            bit = 0 if number is None else 1 << number
            self._savers[key] = (before | bit, max(size, float(saved.untyped_storage().nbytes())))
            self._alive.append(saved)
        return saved

    def _entering(self, number: int) -> Callable[..., None]:
        def enter(_: nn.Module, args: Any, kwargs: Any) -> None:
            if number not in self.counts.order:
                self.counts.order.append(number)
            self.counts.forward[number].add(self._early.flops, self._early.moved, self._early.drawn)
            self._early = Work()
            if number not in self._stack:
                self.counts.inputs[number] += sum(
                    _size(leaf) for leaf in _tensors((args, kwargs)) if _is_float_on_meta(leaf)
                )
            self._stack.append(number)

        return enter

    def _leaving(self, number: int) -> Callable[..., None]:
        def leave(_: nn.Module, __: Any, out: Any) -> None:
            self._stack.pop()
            self.counts.outputs[number] = float(sum(_size(leaf) for leaf in _tensors(out) if _is_float_on_meta(leaf)))

        return leave

    def _norming(self, name: str) -> Callable[..., None]:
        def note(_: nn.Module, args: Any) -> None:
            if self._stack and args:
                self.counts.norms[name] = (self._stack[-1], float(_size(args[0])))

        return note


class _Attention(TorchFunctionMode):
    """Attention as the kernels of a device run it: on the meta device it would always be the plain formula."""

    def __init__(self, counter: Trace) -> None:
        super().__init__()
        self._counter = counter

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is not nn.functional.scaled_dot_product_attention or not self._fused(*args, **kwargs):
            return func(*args, **kwargs)
        query, key, value = [*args, *(kwargs[name] for name in ("query", "key", "value") if name in kwargs)][:3]
        out = _Fused.apply(query, key, value)
        rows, heads, length, _ = query.shape
        flops = 2.0 * rows * heads * length * key.shape[-2] * (key.shape[-1] + value.shape[-1])
        self._counter.record([query, key, value], [out], flops, backward=_FUSED_BACKWARD, joint=True)
        return out

    def _fused(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attn_mask: torch.Tensor | None = None,
        dropout_p: float = 0.0,
        *_: Any,
        **__: Any,
    ) -> bool:
        if query.dim() != 4 or any(one.device.type != "meta" for one in (query, key, value)):
            return False
        has_gradient = attn_mask is not None and attn_mask.requires_grad
        if self._counter.device == "cpu":  # its fused kernel knows no dropout
            return not dropout_p and not has_gradient
        return self._counter.device == "cuda"


class _Fused(torch.autograd.Function):
    """Saves what a fused kernel saves: its inputs, its output, and a number per row of scores."""

    @staticmethod
    def forward(ctx: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        rows, heads, length, _ = query.shape
        out = query.new_empty(rows, length, heads, value.shape[-1]).transpose(1, 2)  # as the kernels lay it out
        ctx.save_for_backward(query, key, value, out, query.new_empty(query.shape[:-1], dtype=torch.float32))
        return out

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        raise NotImplementedError


def _entries(model: nn.Module, layer_map: LayerMap) -> dict[str, int]:
    """The modules where a forward pass enters a layer, by name, with the layer's number."""
    owner = {name: number for number, layer in enumerate(layer_map) for name in layer.modules}
    known = dict(model.named_modules())
    return {name: number for name, number in owner.items() if name in known and _owner_above(name, owner) != number}


def _owner_above(name: str, owner: dict[str, int]) -> int | None:
    while name:
        name = name.rpartition(".")[0]
        if name in owner:
            return owner[name]
    return None


def _tensors(values: Any) -> list[torch.Tensor]:
    return [leaf for leaf in pytree.tree_leaves(values) if isinstance(leaf, torch.Tensor)]


def _key(tensor: torch.Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def _size(tensor: torch.Tensor) -> int:
    """Bytes of a tensor; values that an expanded dimension repeats count once."""
    return min(tensor.numel() * tensor.element_size(), tensor.untyped_storage().nbytes())


def _is_float_on_meta(tensor: torch.Tensor) -> bool:
    return tensor.is_floating_point() and tensor.device.type == "meta"


def _union(masks: list[int]) -> int:
    out = 0
    for mask in masks:
        out |= mask
    return out
