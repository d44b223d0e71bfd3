"""Applying a plan to a model: which parameters require gradients, which modules are in eval mode, and the rates."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from thermocline.errors import ConfigError
from thermocline.tuning.layers.layer_map import LayerMap
from thermocline.tuning.plan.layer_plan import LayerPlan
from thermocline.tuning.schedule.cursor import Cursor
from thermocline.tuning.schedule.curves import rising

BatchNormEval = Callable[[str, nn.Module], bool] | Iterable[str] | None
#: An optimizer group with its rate before the schedule, and the index of the schedule.
_GroupRate = tuple[dict[str, Any], float, int]


class AppliedPlan:
    """A plan applied to a model: call `at(cursor)` before every step, and `train()` in place of `model.train()`.

    Args:
        model: The model; its `requires_grad` flags are set at once, by the plan's first phase.
        layer_map: Its layers.
        plan: The decisions.
        batch_norm_eval: BatchNorms that keep their statistics although their layer trains: a predicate over
            (module name, module), or prefixes of module names.

    Raises:
        ConfigError: The plan is for another model, or has a phase in which nothing trains.

    Example:
        >>> import timm
        >>> model = timm.create_model("test_vit", num_classes=3)
        >>> layers = LayerMap.of(model, head=model.head)
        >>> plan = LayerPlan.build(layers, lr=1e-3, frozen_layers="stem")
        >>> from thermocline.tuning.apply import freeze
        >>> applied = freeze(model, layers, plan)
        >>> applied.at(plan.start(total_steps=10))  # at every step: whether anything changed
        False
        >>> applied.train() is model, model.patch_embed.training, model.head.training
        (True, False, True)
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
        self._eval_norms = _batch_norms(modules, batch_norm_eval)
        self._frozen: frozenset[str] = frozenset()
        self._eval: list[nn.Module] = list(self._eval_norms)
        self._stretch = (-1, -1)
        for layer in self._parameters.values():
            for parameter in layer:
                parameter.requires_grad = True
        self.at(Cursor(0, 1))

    @property
    def frozen(self) -> frozenset[str]:
        """The labels of the layers that do not train now."""
        return self._frozen

    def at(self, cursor: Cursor) -> bool:
        """Freeze and unfreeze layers for a moment of training; costs next to nothing where nothing changes.

        A model in train mode stays in it, with frozen layers in eval mode.

        Returns:
            Whether anything changed.
        """
        stretch = self.plan.timeline.stretch_index(cursor)
        if stretch == self._stretch:
            return False
        self._stretch = stretch
        frozen = frozenset(self._parameters) - self.plan.timeline.trains(cursor)
        changed = frozen ^ self._frozen
        for label in changed:
            for parameter in self._parameters[label]:
                parameter.requires_grad = label not in frozen
                if label in frozen:
                    parameter.grad = None
        self._frozen = frozen
        modules = [module for module, own, inside in self._owners if _is_frozen(own, inside, frozen)]
        self._eval = modules + self._eval_norms
        if changed and self.model.training:
            self.train()
        return bool(changed)

    def train(self) -> nn.Module:
        """Put the model in train mode, and frozen layers (and BatchNorms of `batch_norm_eval`) back in eval mode."""
        self.model.train()
        self._set_eval()
        return self.model

    def hold(self) -> RemovableHandle:
        """Keep frozen layers in eval mode in a loop that calls `model.train()` itself.

        Returns:
            The handle of a hook that runs before each forward pass; `remove()` it when training has ended.

        Example:
            >>> import timm
            >>> model = timm.create_model("test_vit", num_classes=3)
            >>> layers = LayerMap.of(model, head=model.head)
            >>> plan = LayerPlan.build(layers, lr=1e-3, frozen_layers="stem")
            >>> from thermocline.tuning.apply import freeze
            >>> handle = freeze(model, layers, plan).hold()  # for a trainer that calls model.train() itself
            >>> handle.remove()
        """
        return self.model.register_forward_pre_hook(lambda *_: self._set_eval())

    def _set_eval(self) -> None:
        for module in self._eval:
            module.training = False


def freeze(model: nn.Module, layer_map: LayerMap, plan: LayerPlan) -> AppliedPlan:
    """Set `requires_grad` by the plan's first moment, clear frozen gradients, and return the applied plan.

    Example:
        >>> import timm
        >>> model = timm.create_model("test_vit", num_classes=3)
        >>> layers = LayerMap.of(model, head=model.head)
        >>> plan = LayerPlan.build(layers, lr=1e-3, frozen_layers="stem")
        >>> from thermocline.tuning.apply import freeze
        >>> freeze(model, layers, plan).frozen
        frozenset({'model/stem'})
        >>> model.patch_embed.proj.weight.requires_grad, model.head.weight.requires_grad
        (False, True)
    """
    return AppliedPlan(model, layer_map, plan)


def frozen_modules(model: nn.Module, layer_map: LayerMap, frozen: Iterable[str]) -> list[str]:
    """Return the names of modules that belong to frozen layers, and of containers in which nothing trains.

    Args:
        model: The model.
        layer_map: Its layers.
        frozen: The labels of the frozen ones.
    """
    labels = frozenset(frozen)
    owners = module_owners(model, layer_map)
    return [name for name, (own, inside) in owners.items() if _is_frozen(own, inside, labels)]


def module_owners(model: nn.Module, layer_map: LayerMap) -> dict[str, tuple[str | None, frozenset[str]]]:
    """Return for every module the layer it belongs to, if it does, and the layers whose parameters lie in it."""
    own = {name: layer.label for layer in layer_map for name in layer.modules}
    owner = {name: layer.label for layer in layer_map for name in layer.parameters}
    owner |= {alias: owner[name] for alias, name in layer_map.aliases.items() if name in owner}
    inside: dict[str, set[str]] = {}
    for name, label in owner.items():
        parts = name.split(".")[:-1]
        for end in range(len(parts) + 1):
            inside.setdefault(".".join(parts[:end]), set()).add(label)
    return {name: (own.get(name), frozenset(inside.get(name, ()))) for name, _ in model.named_modules()}


def _is_frozen(own: str | None, inside: frozenset[str], frozen: frozenset[str]) -> bool:
    """Whether a module is part of a frozen layer, or a container of frozen layers only."""
    return own in frozen or bool(inside and inside <= frozen)


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
    """Sets the rates (and, under `one_cycle`, the momentum) of an optimizer's groups for a step.

    Args:
        optimizer: Its groups come from `LayerPlan.parameter_groups`.
        plan: The plan.

    Raises:
        ConfigError: A group does not name a layer of the plan.

    Example:
        >>> import timm
        >>> model = timm.create_model("test_vit", num_classes=3)
        >>> layers = LayerMap.of(model, head=model.head)
        >>> plan = LayerPlan.build(layers, lr=1e-3, frozen_layers="stem")
        >>> import torch
        >>> from thermocline.tuning.apply import LRSetter
        >>> optimizer = torch.optim.AdamW(plan.parameter_groups(model))
        >>> set_rates = LRSetter(optimizer, plan)
        >>> set_rates(plan.cursor(10, 100))
        >>> optimizer.param_groups[-1]["layer"], optimizer.param_groups[-1]["lr"]
        ('model/head', 0.001)
    """

    def __init__(self, optimizer: Optimizer, plan: LayerPlan) -> None:
        self._plan = plan
        self._groups = _groups_by_layer(optimizer, plan)
        self._own_momentum = {id(group): own_momentum(group) for group, _ in self._groups}
        self._momenta: tuple[float | None, ...] = ()
        self._stretch = (-1, -1)
        self._factors: tuple[float, ...] = ()
        self._steady: list[_GroupRate] = []
        self._warming: list[_GroupRate] = []  # groups of newly unfrozen layers
        self._warmup = (0, 0)  # its first step, and its length

    @property
    def factor(self) -> float:
        """The schedule's multiple at the step that was set; of several schedules the highest."""
        return max(self._factors)

    def __call__(self, cursor: Cursor) -> None:
        """Set the rates of all groups."""
        timeline = self._plan.timeline
        stretch, factors, momenta = timeline.stretch_index(cursor), timeline.factors(cursor), timeline.momenta(cursor)
        begins = stretch != self._stretch
        if begins:
            self._stretch = stretch
            self._split_groups(cursor)
        if begins or factors != self._factors:
            self._set_steady(factors)
        self._set_warming(cursor.step)
        if begins or momenta != self._momenta:
            self._set_momenta(momenta)

    def _split_groups(self, cursor: Cursor) -> None:
        """Work out what holds for a whole stretch: each group's rate before the schedule, and which groups warm up."""
        timeline = self._plan.timeline
        now = timeline.stretch(cursor)
        self._warmup = (now.start, timeline.unfreeze_warmup(cursor))
        scales = timeline.layers[cursor.phase].scales
        warming = now.unfrozen if self._warmup[1] else frozenset()
        self._warming, self._steady = [], []
        for group, label in self._groups:
            rate = self._plan.lr * scales[label] * group.get("rule_scale", 1.0) if label in now.trains else 0.0
            part = self._warming if label in warming else self._steady
            part.append((group, rate, timeline.course(cursor, label)))

    def _set_steady(self, factors: tuple[float, ...]) -> None:
        """Set the rates of the groups that do not warm up; they change with the factors of the schedules only."""
        self._factors = factors
        for group, rate, course in self._steady:
            _set_rate(group, rate * factors[course])

    def _set_warming(self, step: int) -> None:
        """Set the rates of the groups that warm up; they change at every step."""
        if self._warming:
            start, steps = self._warmup
            warm = [factor * rising(step - start, steps) for factor in self._factors]
            for group, rate, course in self._warming:
                _set_rate(group, rate * warm[course])

    def _set_momenta(self, momenta: tuple[float | None, ...]) -> None:
        """Give each group the momentum of its `one_cycle`, or where its schedule has none its own again."""
        self._momenta = momenta
        for group, _, course in (*self._steady, *self._warming):
            own = self._own_momentum[id(group)]
            if own is not None:
                key, before = own
                now = before if momenta[course] is None else momenta[course]
                group[key] = now if key == "momentum" else (now, *group["betas"][1:])


def _groups_by_layer(optimizer: Optimizer, plan: LayerPlan) -> list[tuple[dict[str, Any], str]]:
    """The optimizer's groups, each with the label of its layer."""
    groups = []
    for group in optimizer.param_groups:
        label = group.get("layer")
        if label not in plan.labels:
            raise ConfigError(
                f"The optimizer group {group.get('name', '?')!r} names no layer of the plan. Make groups "
                "with plan.parameter_groups(model)."
            )
        groups.append((group, str(label)))
    return groups


def own_momentum(group: Mapping[str, Any]) -> tuple[str, float] | None:
    """Return the key of a group's momentum and the value it was made with; None if it has none."""
    if isinstance(group.get("betas"), (tuple, list)) and group["betas"][0] is not None:
        return "betas", float(group["betas"][0])
    if isinstance(group.get("momentum"), float) and group["momentum"]:
        return "momentum", float(group["momentum"])
    return None


def _set_rate(group: dict[str, Any], rate: float) -> None:
    if isinstance(group["lr"], torch.Tensor):  # capturable optimizers keep it in a tensor
        group["lr"].fill_(rate)
    else:
        group["lr"] = rate
