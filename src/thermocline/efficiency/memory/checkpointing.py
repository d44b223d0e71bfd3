"""Layers that save only their inputs for the backward pass, and are computed again in it.

A library's own switch checkpoints every block and makes the embeddings' output require grad, so that frozen blocks
take three times the work (forward, again, and a gradient that nothing uses). Here it is decided at each call of a layer
whether the backward pass will reach it, and only then is it checkpointed (Chen et al. 2016 for the idea).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import wraps
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree
from torch.utils.checkpoint import checkpoint

from thermocline.data.memory_budget import free_memory
from thermocline.efficiency.costs.layer_costs import Costs
from thermocline.errors import ConfigError, SelectorError, listing
from thermocline.tuning.apply import module_owners
from thermocline.tuning.layers.layer_map import LayerMap
from thermocline.tuning.layers.selectors import select

#: The roles of the layers that `all` and `auto` choose from. A head or neck is computed again just when memory is at
#: its peak, which saves nothing; embeddings save little but indices; a fusion MLP is small.
ROLES = ("block",)
_CONTAINERS = (nn.ModuleList, nn.ModuleDict, nn.ParameterList, nn.ParameterDict)
_NORMS = (nn.LayerNorm, nn.GroupNorm, nn.modules.batchnorm._NormBase)
_OPERATORS = (nn.Linear, nn.modules.conv._ConvNd, nn.Embedding, *_NORMS)
#: Share of the free memory that activations may take: the rest is for gradients of a layer, workspaces, fragments.
_SHARE = 0.8


def chosen_layers(layer_map: LayerMap, wanted: Any) -> tuple[str, ...]:
    """Return the labels of the layers that `model.checkpointing` means, in the map's order.

    Args:
        layer_map: The layers.
        wanted: None, `all` (every block), or selectors (see `tuning.layers.selectors.select`), which may name layers of
            every role, also a stem or a neck. `auto` is not allowed: it needs costs, see `auto_layers`.

    Raises:
        SelectorError: A selector matches nothing, or there is no block.
        ConfigError: `auto`.
        LayerMapError: The order of the layers is needed and not known.
    """
    if wanted is None:
        return ()
    if wanted == "auto":
        raise ConfigError("checkpointing='auto' is decided from costs: auto_layers(costs, trainable, rows, free).")
    if wanted != "all":
        return select(layer_map, wanted)
    chosen = tuple(layer.label for layer in layer_map if layer.role in ROLES)
    if not chosen:
        raise SelectorError(
            "checkpointing='all' means every block, and this model has none. Its layers are "
            f"{listing(layer_map.labels)}; name some of them, or set it to null."
        )
    return chosen


def auto_layers(costs: Costs, trainable: Iterable[str], rows: int, free_bytes: float) -> tuple[str, ...]:
    """Return as few layers as bring the expected activations below the free memory.

    Layers that save most bytes for each operation that is repeated are chosen first. Where all blocks together are not
    enough, all are returned.

    Args:
        costs: Of the layers.
        trainable: The labels of the layers that train.
        rows: Rows through the model at once.
        free_bytes: See `free_on`.
    """
    trains = frozenset(trainable)
    saved = costs.saved(trains)
    excess = sum(saved.values()) * rows - _SHARE * free_bytes
    spared: dict[str, float] = {}
    for label in costs.labels:
        own = saved.get(label, 0.0) - costs[label].input_bytes
        if costs[label].role in ROLES and own > 0:
            spared[label] = own * rows
    again = {label: costs[label].flops + costs.balance * costs[label].moved_bytes for label in spared}
    chosen: set[str] = set()
    for label in sorted(spared, key=lambda one: spared[one] / max(again[one], 1.0), reverse=True):
        if excess <= 0:
            break
        chosen.add(label)
        excess -= spared[label]
    return tuple(label for label in costs.labels if label in chosen)


def free_on(device: torch.device) -> int:
    """Return the bytes that a process may still allocate on a device."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + unused
    return free_memory()


class LayerCheckpoints:
    """Checkpoints chosen layers of a model, each only while the backward pass reaches it.

    Outputs and gradients are the same bits as without. A caller must not change an input of a layer in place after
    the layer has read it; torch raises an error then.

    Args:
        model: The model.
        layer_map: Its layers.
        labels: The layers, such as `chosen_layers` returns.

    Attributes:
        labels: Those of them that can save memory: a layer of one operator saves only its input anyway.
    """

    def __init__(self, model: nn.Module, layer_map: LayerMap, labels: Iterable[str]) -> None:
        self._model = model
        owners = module_owners(model, layer_map)
        modules = dict(model.named_modules())
        names = root_names(modules, layer_map, labels := tuple(labels))
        self.labels = tuple(one for one in labels if not set(names).isdisjoint(layer_map[one].modules))
        self._roots = [(modules[name], owners[name][1]) for name in names]
        parameters = dict(model.named_parameters(remove_duplicate=False))
        self._trainable = frozenset(
            layer.label for layer in layer_map if any(parameters[name].requires_grad for name in layer.parameters)
        )

    def update(self, trainable: Iterable[str]) -> None:
        """Set which layers train now; at first it is those whose parameters require grad."""
        self._trainable = frozenset(trainable)

    @contextmanager
    def installed(self) -> Iterator[LayerCheckpoints]:
        """Checkpoint inside the context; afterwards the model is exactly as it was.

        A library's own checkpointing of the same model is off meanwhile; with both, a layer would be computed three
        times.
        """
        with _own_switches_off(self._model if self._roots else None):
            before = [(module, module.__dict__.get("forward")) for module, _ in self._roots]
            try:
                for module, below in self._roots:
                    module.forward = self._patched(module, below)
                yield self
            finally:
                for module, forward in reversed(before):
                    if forward is None:
                        del module.forward
                    else:
                        module.forward = forward

    def _patched(self, module: nn.Module, below: frozenset[str]) -> Callable[..., Any]:
        forward = module.forward
        norms = [one for one in module.modules() if "running_mean" in one._buffers]
        own_number = _own_number(module)
        reads_cache = bool(getattr(module, "_can_checkpoint_with_cache", False))

        @wraps(forward)
        def call(*args: Any, **kwargs: Any) -> Any:
            leaves, form = pytree.tree_flatten((args, kwargs), is_leaf=_is_cache)
            if not torch.is_grad_enabled() or not (self._trainable & below or any(map(_wants_grad, leaves))):
                return forward(*args, **kwargs)
            if not reads_cache:
                if any(_is_cache(leaf) and leaf.get_seq_length(own_number) for leaf in leaves):
                    return forward(*args, **kwargs)  # a filled cache (prefix tuning) grows with each call
                leaves = [None if _is_cache(leaf) else leaf for leaf in leaves]

            def run(*inputs: Any) -> Any:
                positional, named = pytree.tree_unflatten(list(inputs), form)
                return forward(*positional, **_without_cache(named))

            # as positional arguments, tensors are saved by autograd, and tell on which devices to save the state of
            # random numbers
            return checkpoint(run, *leaves, use_reentrant=False, preserve_rng_state=True, context_fn=_contexts(norms))

        return call


def root_names(modules: dict[str, nn.Module], layer_map: LayerMap, labels: Iterable[str]) -> list[str]:
    """Return the largest modules with parameters that layers consist of: one or more of each layer.

    Args:
        modules: The model's modules by name.
        layer_map: Its layers.
        labels: The layers.
    """
    chosen = {name for label in labels for name in layer_map[label].modules if name in modules}
    callable_ = {name for name in chosen if _is_called(modules[name])}
    return [name for name in modules if name in callable_ and not any(above in callable_ for above in _above(name))]


def _is_called(module: nn.Module) -> bool:
    """Whether it has a forward pass that saves more than its input, as a single operator does not."""
    if isinstance(module, _CONTAINERS) or next(module.parameters(), None) is None:
        return False
    return not isinstance(module, _OPERATORS) or next(module.children(), None) is not None


def _above(name: str) -> Iterator[str]:
    """The modules that contain a module, the whole model (`""`) included."""
    parts = name.split(".")
    return (".".join(parts[:end]) for end in range(len(parts) if name else 0))


def _wants_grad(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.requires_grad


def _own_number(module: nn.Module) -> int:
    """The number of a layer's own keys and values in a cache."""
    numbers = (getattr(one, "layer_idx", None) for one in module.modules())
    return next((number for number in numbers if isinstance(number, int)), 0)


def _is_cache(value: Any) -> bool:
    """Whether this is a cache of keys and values, to which a layer appends: twice, if it is computed twice."""
    return hasattr(value, "get_seq_length") and hasattr(value, "update")


def _without_cache(named: dict[str, Any]) -> dict[str, Any]:
    return {**named, "use_cache": False} if named.get("use_cache") else named


@contextmanager
def _own_switches_off(model: nn.Module | None) -> Iterator[None]:
    """Turn off the checkpointing that transformers (and timm) models carry themselves."""
    keys = ("gradient_checkpointing", "grad_checkpointing")
    modules = [] if model is None else list(model.modules())
    found = [(one, key) for one in modules for key in keys if one.__dict__.get(key) is True]
    try:
        for module, key in found:
            module.__dict__[key] = False
        yield
    finally:
        for module, key in found:
            module.__dict__[key] = True


Contexts = Callable[[], tuple[AbstractContextManager[Any], AbstractContextManager[Any]]]


def _contexts(norms: Sequence[nn.Module]) -> Contexts:
    return lambda: (nullcontext(), _statistics_restored(norms))


@contextmanager
def _statistics_restored(norms: Sequence[nn.Module]) -> Iterator[None]:
    """Update copies of running statistics in the recomputation: the forward pass has updated them already.

    (fairscale turns `track_running_stats` off instead; then the recomputation saves two tensors less than the forward
    pass, and torch raises an error.)
    """
    found = [(one, dict(one._buffers)) for one in norms if one.training]
    try:
        for norm, buffers in found:
            norm._buffers.update({key: None if value is None else value.clone() for key, value in buffers.items()})
        yield
    finally:
        for norm, buffers in found:
            norm._buffers.update(buffers)
