"""Carrying a plan out on a model: what requires grad, what is in eval mode, and the rates at a step."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from thermocline.errors import ConfigError
from thermocline.tuning.layers import LayerMap
from thermocline.tuning.phases import Cursor
from thermocline.tuning.plan import LayerPlan

BatchNormEval = Callable[[str, nn.Module], bool] | Iterable[str] | None


class AppliedPlan:
    """A plan on a model: call `train()` wherever a loop calls `model.train()`.

    Args:
        model: The model; its `requires_grad` flags are set on the first `at`.
        layer_map: Its layers.
        plan: The decisions.
        batch_norm_eval: BatchNorms that keep their statistics although their layer trains: a predicate over
            (module name, module), or prefixes of module names.

    Raises:
        ConfigError: The plan is for another model.
    """

    def __init__(
        self, model: nn.Module, layer_map: LayerMap, plan: LayerPlan, *, batch_norm_eval: BatchNormEval = None
    ) -> None:
        plan.check(layer_map)
        self.model, self.layer_map, self.plan = model, layer_map, plan
        self._modules = dict(model.named_modules())
        self._parameters = dict(model.named_parameters(remove_duplicate=False))
        self._kept = _batch_norms(self._modules, batch_norm_eval)
        self._frozen: frozenset[str] = frozenset()
        self._eval: list[nn.Module] = list(self._kept)
        self.at(plan.cursor(0, 1))

    @property
    def frozen(self) -> frozenset[str]:
        """The labels of the layers that do not train now."""
        return self._frozen

    def at(self, cursor: Cursor) -> bool:
        """Freeze and unfreeze for a moment of training.

        Returns:
            Whether anything changed.
        """
        labels = self.plan.labels
        frozen = frozenset(label for label in labels if not self.plan.trainable_at(label, cursor))
        changed = frozen != self._frozen
        self._frozen = frozen
        for layer in self.layer_map:
            train = layer.label not in frozen
            for name in layer.parameters:
                parameter = self._parameters[name]
                parameter.requires_grad_(train)
                if not train:
                    parameter.grad = None
        frozen_names = frozen_modules(self.model, self.layer_map, frozen)
        self._eval = [self._modules[name] for name in frozen_names] + self._kept
        return changed

    def train(self) -> nn.Module:
        """Put the model in train mode, and what is frozen (and kept BatchNorms) back in eval mode."""
        self.model.train()
        self._keep()
        return self.model

    def hold(self) -> RemovableHandle:
        """Keep what is frozen in eval mode in a loop that calls `model.train()` itself.

        Returns:
            The handle of a hook that runs before each forward pass; `remove()` it when training has ended.
        """
        return self.model.register_forward_pre_hook(lambda *_: self._keep())

    def _keep(self) -> None:
        for module in self._eval:
            module.training = False


def freeze(model: nn.Module, layer_map: LayerMap, plan: LayerPlan) -> AppliedPlan:
    """Set `requires_grad` by the plan's first moment, clear frozen gradients, and return the handle."""
    return AppliedPlan(model, layer_map, plan)


@contextmanager
def frozen(model: nn.Module, layer_map: LayerMap, plan: LayerPlan) -> Iterator[AppliedPlan]:
    """Apply a plan for a while: `requires_grad` and the training flags are put back at the end."""
    flags = [(p, p.requires_grad) for p in model.parameters()]
    modes = [(module, module.training) for module in model.modules()]
    try:
        yield AppliedPlan(model, layer_map, plan)
    finally:
        for parameter, flag in flags:
            parameter.requires_grad_(flag)
        for module, mode in modes:
            module.training = mode


def train_mode(
    model: nn.Module, layer_map: LayerMap, plan: LayerPlan, *, batch_norm_eval: BatchNormEval = None
) -> None:
    """`model.train()` under a plan, for a loop that keeps no handle. Leaves `requires_grad` alone."""
    model.train()
    modules = dict(model.named_modules())
    for name in frozen_modules(model, layer_map, frozenset(plan.frozen)):
        modules[name].training = False
    for module in _batch_norms(modules, batch_norm_eval):
        module.training = False


def frozen_modules(model: nn.Module, layer_map: LayerMap, frozen: Iterable[str]) -> list[str]:
    """Return the names of modules that belong to frozen layers, and of containers in which nothing trains."""
    labels = set(frozen)
    names = {name for layer in layer_map if layer.label in labels for name in layer.modules}
    owner = {name: layer.label for layer in layer_map for name in layer.parameters}
    owner |= {alias: owner[name] for alias, name in layer_map.aliases.items() if name in owner}
    training: set[str] = set()
    full: set[str] = set()
    for name, label in owner.items():
        parts = name.split(".")[:-1]
        above = [".".join(parts[:end]) for end in range(len(parts) + 1)]
        (full if label in labels else training).update(above)
    names |= full - training
    return [name for name, _ in model.named_modules() if name in names]


def _batch_norms(modules: dict[str, nn.Module], wanted: BatchNormEval) -> list[nn.Module]:
    if wanted is None:
        return []
    if isinstance(wanted, str):
        wanted = [wanted]
    norms = {name: m for name, m in modules.items() if isinstance(m, nn.modules.batchnorm._BatchNorm)}
    if callable(wanted):
        return [module for name, module in norms.items() if wanted(name, module)]
    prefixes = tuple(wanted)
    return [
        module
        for name, module in norms.items()
        if any(not prefix or name == prefix or name.startswith(f"{prefix}.") for prefix in prefixes)
    ]


class LRSetter:
    """Sets the rates of an optimizer's groups for a step; what can be is computed once.

    Args:
        optimizer: Its groups come from `LayerPlan.parameter_groups`.
        plan: The plan.

    Raises:
        ConfigError: A group does not name a layer of the plan.
    """

    def __init__(self, optimizer: Optimizer, plan: LayerPlan) -> None:
        self._plan = plan
        self._groups: list[tuple[dict[str, object], float, str]] = []
        for group in optimizer.param_groups:
            label = group.get("layer")
            if label not in plan.labels:
                raise ConfigError(
                    f"The optimizer group {group.get('name', '?')!r} names no layer of the plan. Make groups "
                    "with plan.parameter_groups(model)."
                )
            self._groups.append((group, plan.lr * plan[label].lr_scale, label))
        self._phase = -1
        self._now: list[tuple[dict[str, object], float]] = []

    def __call__(self, cursor: Cursor) -> None:
        """Set the rates of all groups."""
        if cursor.phase != self._phase:
            self._phase = cursor.phase
            self._now = [
                (group, rate if self._plan.trainable_at(label, cursor) else 0.0) for group, rate, label in self._groups
            ]
        factor = self._plan.factor_at(cursor)
        for group, rate in self._now:
            if isinstance(group["lr"], torch.Tensor):  # capturable optimizers keep it in a tensor
                group["lr"].fill_(rate * factor)
            else:
                group["lr"] = rate * factor


def set_lrs(optimizer: Optimizer, plan: LayerPlan, cursor: Cursor) -> None:
    """Set the rates of all groups once; a loop keeps an `LRSetter` instead."""
    LRSetter(optimizer, plan)(cursor)


def fingerprint_frozen(model: nn.Module, layer_map: LayerMap, plan: LayerPlan) -> str:
    """Return a hash over the bits of all parameters and buffers of layers that are frozen throughout."""
    digest = hashlib.sha256()
    labels = set(plan.frozen)
    parameters = dict(model.named_parameters(remove_duplicate=False))
    held = [(name, parameters[name]) for layer in layer_map if layer.label in labels for name in layer.parameters]
    modules = dict(model.named_modules())
    for name in frozen_modules(model, layer_map, labels):
        held.extend((f"{name}.{key}", value) for key, value in modules[name].named_buffers(recurse=False))
    for name, tensor in held:
        digest.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
