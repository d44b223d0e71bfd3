"""The optimizer of a run, and its state by the names of parameters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn
from torch.optim import SGD, AdamW, Optimizer

MOMENTUM = 0.9  # of SGD, as in nearly every recipe since Krizhevsky et al. 2012


def make_optimizer(kind: str, groups: Iterable[Mapping[str, Any]], lr: float, device: torch.device) -> Optimizer:
    """Return the optimizer over a plan's groups; fused where the device has it.

    Args:
        kind: `adamw` (Loshchilov and Hutter 2019) or `sgd` with a momentum of `MOMENTUM`, whose weight decay is a
            term of the gradient.
        groups: From `LayerPlan.parameter_groups`.
        lr: The base rate.
        device: Where the parameters are.
    """
    fused = device.type in ("cuda", "cpu")
    parts = [dict(group) for group in groups]
    if kind == "sgd":
        return SGD(parts, lr=lr, momentum=MOMENTUM, fused=fused)
    return AdamW(parts, lr=lr, fused=fused)


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
    """Return copies on the CPU of an optimizer's state, as `parameter/key`.

    A parameter that never had a gradient has nothing. Names, not positions: a state can be read whatever is frozen
    when it is written or read.
    """
    state = {}
    for name, parameter in model.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():
            if value is not None:  # SGD before its second step
                state[f"{name}/{key}"] = value.detach().to("cpu", copy=True).contiguous()
    return state


def restore_by_name(optimizer: Optimizer, model: nn.Module, state: Mapping[str, torch.Tensor]) -> None:
    """Give an optimizer what `state_by_name` returned, in the memory layout of the parameters.

    Raises:
        KeyError: The state is about a parameter that the model does not have.
    """
    parameters = dict(model.named_parameters())
    group_of = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    for label, value in state.items():
        name, _, key = label.rpartition("/")
        parameter = parameters[name]
        if key == "step":  # a counter: on the parameter's device only where the kernel counts itself
            group = group_of[id(parameter)]
            on_device = group.get("fused") or group.get("capturable")
            placed = value.to(parameter.device) if on_device else value
        else:
            placed = torch.empty_like(parameter, requires_grad=False).copy_(value)
        optimizer.state[parameter][key] = placed
