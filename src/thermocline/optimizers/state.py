"""The state of an optimizer by the names of parameters: read, written, dropped."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

_OF_THE_PLAN = frozenset({"params", "lr", "weight_decay", "name", "layer", "lr_scale", "rule_scale", "momentum"})
_OF_THE_DEVICE = frozenset({"fused", "foreach", "capturable", "differentiable"})
_GROUP = "#"  # begins no name of a parameter
_PLAIN = (bool, int, float, type(None))


def rates_of(optimizer: Optimizer) -> dict[str, float]:
    """Return the rates that an optimizer uses now, by layer: those of the layers themselves, before parameter rules."""
    rates: dict[str, float] = {}
    for group in optimizer.param_groups:
        rates.setdefault(group["layer"], float(group["lr"]) / group.get("rule_scale", 1.0))
    return rates


def reset_state(optimizer: Optimizer, labels: Iterable[str]) -> None:
    """Drop the optimizer's state of the parameters of these layers."""
    chosen = set(labels)
    for group in optimizer.param_groups:
        if group["layer"] in chosen:
            for parameter in group["params"]:
                optimizer.state.pop(parameter, None)


def state_by_name(optimizer: Optimizer, model: nn.Module) -> dict[str, torch.Tensor]:
    """Return copies on the CPU of the tensors of an optimizer's state, as `parameter/key`, or `#group/key`.

    A parameter that never had a gradient has nothing. Names, not positions: a state can be read whatever is frozen
    when it is written or read.
    """
    tensors = {label: value for label, value, _ in _values(optimizer, model) if isinstance(value, torch.Tensor)}
    return {label: value.detach().to("cpu", copy=True).contiguous() for label, value in tensors.items()}


def numbers_by_name(optimizer: Optimizer, model: nn.Module) -> dict[str, Any]:
    """Return the rest of an optimizer's state as JSON has it.

    Returns:
        `values`: numbers as `parameter/key`, or `#group/key`; `apart`: the tensors of `state_by_name` that are on
        another device than their parameter.
    """
    values = list(_values(optimizer, model))
    return {
        "values": {label: value for label, value, _ in values if isinstance(value, bool | int | float)},
        "apart": [
            label for label, value, home in values if isinstance(value, torch.Tensor) and value.device != home.device
        ],
    }


def _values(optimizer: Optimizer, model: nn.Module) -> Iterator[tuple[str, Any, nn.Parameter]]:
    """Yield what an optimizer remembers: its label, its value, and a parameter that it is about."""
    for name, parameter in model.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():
            yield f"{name}/{key}", value, parameter
    for number, group in enumerate(optimizer.param_groups):
        for key, value in group.items():
            if key not in _OF_THE_PLAN | _OF_THE_DEVICE:
                yield f"{_GROUP}{number}/{key}", value, group["params"][0]


def unreadable(optimizer: Optimizer) -> list[str]:
    """Return the keys of an optimizer's state whose values are neither tensors nor numbers."""
    kinds = (torch.Tensor, *_PLAIN)
    return [key for own in optimizer.state.values() for key, value in own.items() if not isinstance(value, kinds)]


def restore_by_name(
    optimizer: Optimizer, model: nn.Module, state: Mapping[str, torch.Tensor], numbers: Mapping[str, Any] | None = None
) -> None:
    """Give an optimizer what `state_by_name` and `numbers_by_name` returned, in the memory layout of the parameters.

    Raises:
        KeyError: The state is about a parameter that the model does not have.
    """
    numbers = numbers or {}
    parameters, apart = dict(model.named_parameters()), frozenset(numbers.get("apart", ()))
    group_of = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    for label, value in {**state, **numbers.get("values", {})}.items():
        name, _, key = label.rpartition("/")
        if name.startswith(_GROUP):
            group = optimizer.param_groups[int(name.removeprefix(_GROUP))]
            group[key] = _placed(value, group["params"][0], apart=label in apart, key=key, group=group, whole=False)
            continue
        parameter = parameters[name]
        group = group_of[id(parameter)]
        optimizer.state[parameter][key] = _placed(value, parameter, apart=label in apart, key=key, group=group)


def _placed(
    value: Any, parameter: nn.Parameter, *, apart: bool, key: str, group: Mapping[str, Any], whole: bool = True
) -> Any:
    """A value where the optimizer expects it."""
    if not isinstance(value, torch.Tensor):
        return value
    if key == "step":  # a counter: on the parameter's device only where the kernel counts itself
        return value.to(parameter.device) if group.get("fused") or group.get("capturable") else value
    if whole and value.shape == parameter.shape:
        return torch.empty_like(parameter, dtype=value.dtype, requires_grad=False).copy_(value)
    return value if apart else value.to(parameter.device)
