"""An optimizer tried on a few weights before anything is loaded: that it runs, resumes exactly, and how large it is."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from thermocline.errors import ConfigError, listing
from thermocline.optimizers.choice import OptimizerChoice
from thermocline.optimizers.muon import MATRICES
from thermocline.optimizers.state import numbers_by_name, restore_by_name, state_by_name, unreadable
from thermocline.tuning.random_numbers import RandomNumbers

SIZES = (13, 7, 5, 3, 2)
"""A trial weight of n dimensions has the first n of these: no two alike, so that a state's sizes can be told apart."""
LARGE = (64, 65)
"""The matrix that is stepped on: bitsandbytes keeps 8 bits of parameters with 4,096 weights and more."""
STEPS = 2
LR = 1e-3


@dataclass(frozen=True)
class Entry:
    """A tensor of an optimizer's state, for a parameter of any shape.

    Attributes:
        sizes: Of each dimension: the parameter's dimension that it is as long as, or -1 and its length.
        itemsize: Bytes of a number.
    """

    sizes: tuple[tuple[int, int], ...]
    itemsize: int

    @classmethod
    def of(cls, tensor: torch.Tensor, parameter: torch.Tensor) -> Entry:
        """Return the entry that a tensor is for a trial weight."""
        own = list(parameter.shape)
        sizes = tuple((own.index(n), 0) if n in own else (-1, n) for n in tensor.shape)
        return cls(sizes, tensor.element_size())

    @property
    def counts(self) -> bool:
        """Whether it is a single number, such as a count of steps."""
        return not self.sizes

    def bytes_for(self, shape: Sequence[int]) -> int:
        """Return its bytes for a parameter."""
        return self.itemsize * math.prod(n if place < 0 else shape[place] for place, n in self.sizes)


def check(choice: OptimizerChoice, device: torch.device, *, checkpoints: bool) -> None:
    """Raise unless an optimizer takes its arguments, steps on trial weights, and goes on exactly from its state.

    Args:
        choice: The optimizer.
        device: Where it will run.
        checkpoints: Whether its state is to be kept.

    Raises:
        ConfigError: It does not; the message says what and where.
        MissingDependencyError: Its package is not installed.
    """
    kind = choice.kind
    choice.check_arguments()
    plain = choice.info is not None and not choice.info.extra and not choice.info.splits
    if plain and not choice.arguments:
        return  # the tests try these
    needed = [one.name for one in list(inspect.signature(kind.step).parameters.values())[1:] if _is_needed(one)]
    if needed:
        raise ConfigError(
            f"optim.optimizer: the step of {choice.name} needs {listing(needed)}: it computes the loss several times, "
            "and a fit computes it once a step. Take an optimizer whose step() needs nothing."
        )
    model = _Weights(device)
    optimizer = _tried(choice, device, lambda: _stepped(choice, model, device))
    _check_frozen(choice, device)
    if not checkpoints:
        return
    advice = "No exact resume is possible with it: set env.checkpoint_every=0, or take another optimizer."
    if keys := unreadable(optimizer):
        raise ConfigError(
            f"optim.optimizer: the state of {choice.name} has {listing(dict.fromkeys(keys))}, which is neither a "
            f"tensor nor a number. {advice}"
        )
    if not _tried(choice, device, lambda: _goes_on(choice, model, optimizer, device)):
        raise ConfigError(
            f"optim.optimizer: {choice.name} made anew with the state that it had takes another step than without a "
            f"stop: part of what it remembers is neither in its state nor in its groups. {advice}"
        )


@lru_cache(maxsize=128)
def state_entries(choice: OptimizerChoice, ndim: int, *, matrices: bool = False) -> tuple[Entry, ...]:
    """Return what an optimizer keeps for a parameter of so many dimensions.

    Args:
        choice: The optimizer, which `check` accepts.
        ndim: Dimensions of the parameter.
        matrices: Whether Muon trains it, where it is one of two.
    """
    weight = nn.Parameter(torch.ones(SIZES[:ndim]))
    weight.grad = torch.ones_like(weight)
    cpu = torch.device("cpu")
    with RandomNumbers():
        optimizer = choice.over([_group([weight], matrices=matrices)], LR, cpu)
        for _ in range(STEPS):
            optimizer.step()
    values = optimizer.state.get(weight, {}).values()
    return tuple(Entry.of(value, weight) for value in values if isinstance(value, torch.Tensor))


class _Weights(nn.Module):
    """A matrix, a vector and a convolution."""

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        for name, shape in (("matrix", LARGE), ("vector", SIZES[:1]), ("convolution", SIZES[:4])):
            value = torch.randn(shape, generator=generator)
            self.register_parameter(name, nn.Parameter(value.to(device)))

    def groups(self) -> list[dict[str, Any]]:
        """The groups as a plan has them."""
        named = dict(self.named_parameters())
        matrix = named.pop("matrix")
        return [_group([matrix], matrices=True), _group(list(named.values()), matrices=False)]


def _group(parameters: Sequence[nn.Parameter], *, matrices: bool) -> dict[str, Any]:
    """A group with the keys of `LayerPlan.parameter_groups`."""
    group = {"params": list(parameters), "lr": LR, "weight_decay": 0.01 * matrices}
    return {**group, "name": "trial", "lr_scale": 1.0, "layer": "trial", MATRICES: matrices}


def _is_needed(parameter: inspect.Parameter) -> bool:
    named = parameter.kind not in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return named and parameter.default is inspect.Parameter.empty


def _tried(choice: OptimizerChoice, device: torch.device, what: Callable[[], Any]) -> Any:
    try:
        return what()
    except Exception as error:  # a foreign class may raise anything
        given = f" with {dict(choice.arguments)!r}" if choice.arguments else ""
        raise ConfigError(
            f"optim.optimizer: {choice.name}{given} does not run on trial weights (a matrix, a vector, a convolution) "
            f"on {device}: {type(error).__name__}: {error}"
        ) from error


def _stepped(choice: OptimizerChoice, model: _Weights, device: torch.device) -> Optimizer:
    optimizer = choice.over(model.groups(), LR, device)
    with RandomNumbers():
        for number in range(STEPS):
            _step(model, optimizer, number)
    return optimizer


def _step(model: nn.Module, optimizer: Optimizer, number: int) -> None:
    generator = torch.Generator().manual_seed(number + 1)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator).to(parameter.device)
    torch.manual_seed(number)
    optimizer.step()


def _check_frozen(choice: OptimizerChoice, device: torch.device) -> None:
    """Raise unless a weight that has no gradient stays as it is, as those of layers do that a phase freezes."""
    model, fault = _Weights(device), "changes it"
    optimizer = _stepped(choice, model, device)
    frozen, *others = reversed(list(model.parameters()))
    before = frozen.detach().clone()
    frozen.grad = None
    for parameter in others:
        parameter.grad = torch.ones_like(parameter)
    try:
        with RandomNumbers():
            optimizer.step()
    except Exception as error:  # a foreign class may raise anything
        fault = f"raises {type(error).__name__} ({error})"
    else:
        if torch.equal(before, frozen.detach()):
            return
    raise ConfigError(
        f"optim.optimizer: the step of {choice.name} {fault} where a weight has no gradient, as in layers that are "
        "frozen for a phase. Let step() pass over parameters whose grad is None, or take another optimizer."
    )


def _goes_on(choice: OptimizerChoice, model: _Weights, optimizer: Optimizer, device: torch.device) -> bool:
    """Whether one that is made anew takes the same step as one that went on."""
    again = _Weights(device)
    again.load_state_dict(model.state_dict())
    other = choice.over(again.groups(), LR, device)
    restore_by_name(other, again, state_by_name(optimizer, model), numbers_by_name(optimizer, model))
    with RandomNumbers():
        _step(model, optimizer, STEPS)
        _step(again, other, STEPS)
    ours: Mapping[str, torch.Tensor] = model.state_dict()
    return all(torch.equal(ours[name], value) for name, value in again.state_dict().items())
