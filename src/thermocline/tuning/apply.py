"""Carrying a plan out on a model: what requires grad, what is in eval mode, and the rates at a step."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from thermocline.errors import ConfigError
from thermocline.tuning.layers.layer_map import LayerMap
from thermocline.tuning.plan.layer_plan import LayerPlan
from thermocline.tuning.schedule.curves import rising
from thermocline.tuning.schedule.phases import Cursor
from thermocline.tuning.verify import tensors_hash

BatchNormEval = Callable[[str, nn.Module], bool] | Iterable[str] | None


class AppliedPlan:
    """A plan on a model: call `at(cursor)` before every step and `train()` wherever a loop calls `model.train()`.

    Args:
        model: The model; its `requires_grad` flags are set at once, by the plan's first phase.
        layer_map: Its layers.
        plan: The decisions.
        batch_norm_eval: BatchNorms that keep their statistics although their layer trains: a predicate over
            (module name, module), or prefixes of module names.

    Raises:
        ConfigError: The plan is for another model, or has a phase in which nothing trains.
    """

    def __init__(
        self, model: nn.Module, layer_map: LayerMap, plan: LayerPlan, *, batch_norm_eval: BatchNormEval = None
    ) -> None:
        plan.check(layer_map)
        self.model, self.layer_map, self.plan = model, layer_map, plan
        modules = dict(model.named_modules())
        parameters = dict(model.named_parameters(remove_duplicate=False))
        self._parameters = {layer.label: [parameters[name] for name in layer.parameters] for layer in layer_map}
        self._owners = [(modules[name], *owners) for name, owners in module_owners(model, layer_map).items()]
        self._kept = _batch_norms(modules, batch_norm_eval)
        self._frozen: frozenset[str] = frozenset()
        self._eval: list[nn.Module] = list(self._kept)
        self._stretch = (-1, -1)
        for layer in self._parameters.values():
            for parameter in layer:
                parameter.requires_grad_(True)
        self.at(Cursor(0, 1))

    @property
    def frozen(self) -> frozenset[str]:
        """The labels of the layers that do not train now."""
        return self._frozen

    def at(self, cursor: Cursor) -> bool:
        """Freeze and unfreeze for a moment of training; costs next to nothing where nothing changes.

        A model in train mode stays in it, with what is frozen in eval mode.

        Returns:
            Whether anything changed.
        """
        draw = self.plan.phases[cursor.phase].draw
        stretch = (cursor.phase, 0 if draw is None else (cursor.step - cursor.phase_start) // draw.every)
        if stretch == self._stretch:
            return False
        self._stretch = stretch
        frozen = frozenset(self._parameters) - self.plan.timeline.trains(cursor)
        changed = frozen ^ self._frozen
        for label in changed:
            for parameter in self._parameters[label]:
                parameter.requires_grad_(label not in frozen)
                if label in frozen:
                    parameter.grad = None
        self._frozen = frozen
        self._eval = [module for module, own, below in self._owners if _rests(own, below, frozen)] + self._kept
        if changed and self.model.training:
            self.train()
        return bool(changed)

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
    for name in frozen_modules(model, layer_map, plan.frozen):
        modules[name].training = False
    for module in _batch_norms(modules, batch_norm_eval):
        module.training = False


def frozen_modules(model: nn.Module, layer_map: LayerMap, frozen: Iterable[str]) -> list[str]:
    """Return the names of modules that belong to frozen layers, and of containers in which nothing trains."""
    labels = frozenset(frozen)
    owners = module_owners(model, layer_map)
    return [name for name, (own, below) in owners.items() if _rests(own, below, labels)]


def module_owners(model: nn.Module, layer_map: LayerMap) -> dict[str, tuple[str | None, frozenset[str]]]:
    """Return for every module the layer it belongs to, if it does, and the layers whose parameters lie in it."""
    own = {name: layer.label for layer in layer_map for name in layer.modules}
    owner = {name: layer.label for layer in layer_map for name in layer.parameters}
    owner |= {alias: owner[name] for alias, name in layer_map.aliases.items() if name in owner}
    below: dict[str, set[str]] = {}
    for name, label in owner.items():
        parts = name.split(".")[:-1]
        for end in range(len(parts) + 1):
            below.setdefault(".".join(parts[:end]), set()).add(label)
    return {name: (own.get(name), frozenset(below.get(name, ()))) for name, _ in model.named_modules()}


def _rests(own: str | None, below: frozenset[str], frozen: frozenset[str]) -> bool:
    """Whether a module is part of a frozen layer, or a container of nothing but frozen ones."""
    return own in frozen or bool(below and below <= frozen)


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
    """Sets the rates (and, in a cycle, the momentum) of an optimizer's groups for a step.

    Args:
        optimizer: Its groups come from `LayerPlan.parameter_groups`.
        plan: The plan.

    Raises:
        ConfigError: A group does not name a layer of the plan.
    """

    def __init__(self, optimizer: Optimizer, plan: LayerPlan) -> None:
        self._plan = plan
        self._groups: list[tuple[dict[str, Any], str]] = []
        for group in optimizer.param_groups:
            label = group.get("layer")
            if label not in plan.labels:
                raise ConfigError(
                    f"The optimizer group {group.get('name', '?')!r} names no layer of the plan. Make groups "
                    "with plan.parameter_groups(model)."
                )
            self._groups.append((group, label))
        self._usual = usual_momentum(optimizer)
        self._momentum = -1.0
        self._stretch = (-1, -1)
        self.factor = -1.0
        self._steady: list[tuple[dict[str, Any], float]] = []
        self._thawed: list[tuple[dict[str, Any], float]] = []
        self._warm = (0, 0)

    def __call__(self, cursor: Cursor) -> None:
        """Set the rates of all groups."""
        timeline = self._plan.timeline
        draw = self._plan.phases[cursor.phase].draw
        stretch = (cursor.phase, 0 if draw is None else (cursor.step - cursor.phase_start) // draw.every)
        factor = timeline.factor(cursor)
        entered = stretch != self._stretch
        if entered:
            self._enter(stretch, cursor)
        if entered or factor != self.factor:
            self.factor = factor
            for group, rate in self._steady:
                _set_rate(group, rate * factor)
        if self._thawed:
            start, steps = self._warm
            warm = factor * rising(cursor.step - start, steps)
            for group, rate in self._thawed:
                _set_rate(group, rate * warm)
        if self._usual is not None:
            self._set_momentum(timeline.momentum(cursor))

    def _enter(self, stretch: tuple[int, int], cursor: Cursor) -> None:
        """Work out what holds until the next stretch."""
        self._stretch = stretch
        now = self._plan.timeline.stretch(cursor)
        self._warm = (now.start, self._plan.timeline.thaw_steps(cursor))
        scales = self._plan.timeline.scales[cursor.phase]
        rates = [(group, self._plan.lr * scales[at] if at in now.trains else 0.0, at) for group, at in self._groups]
        warm = now.thawed if self._warm[1] else frozenset()
        self._thawed = [(group, rate) for group, rate, label in rates if label in warm]
        self._steady = [(group, rate) for group, rate, label in rates if label not in warm]

    def _set_momentum(self, value: float | None) -> None:
        """Give the groups a momentum: of the cycle, or the optimizer's own again after one."""
        assert self._usual is not None
        key, usual = self._usual
        value = usual if value is None else value
        if value == self._momentum:
            return
        self._momentum = value
        for group, _ in self._groups:
            if key == "momentum":
                group["momentum"] = value
            else:
                group["betas"] = (value, *group["betas"][1:])


def usual_momentum(optimizer: Optimizer) -> tuple[str, float] | None:
    """Return where an optimizer keeps its momentum and what it was made with; None if it has none."""
    if "betas" in optimizer.defaults:
        return "betas", float(optimizer.defaults["betas"][0])
    if optimizer.defaults.get("momentum"):
        return "momentum", float(optimizer.defaults["momentum"])
    return None


def _set_rate(group: dict[str, Any], rate: float) -> None:
    if isinstance(group["lr"], torch.Tensor):  # capturable optimizers keep it in a tensor
        group["lr"].fill_(rate)
    else:
        group["lr"] = rate


def set_lrs(optimizer: Optimizer, plan: LayerPlan, cursor: Cursor) -> None:
    """Set the rates of all groups once; a loop keeps an `LRSetter` instead."""
    LRSetter(optimizer, plan)(cursor)


def fingerprint_frozen(model: nn.Module, layer_map: LayerMap, plan: LayerPlan) -> str:
    """Return a hash over the bits of all parameters and buffers of layers that are frozen throughout."""
    labels = set(plan.frozen)
    parameters = dict(model.named_parameters(remove_duplicate=False))
    held = [(name, parameters[name]) for layer in layer_map if layer.label in labels for name in layer.parameters]
    modules = dict(model.named_modules())
    buffers = [
        (f"{name}.{key}", value)
        for name in frozen_modules(model, layer_map, labels)
        for key, value in modules[name].named_buffers(recurse=False)
    ]
    return tensors_hash([*held, *buffers])
