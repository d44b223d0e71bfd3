"""The optimizer that was asked for: a name or a class, and its arguments; made for a plan or for bare groups."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from thermocline.errors import ConfigError, did_you_mean, listing
from thermocline.optimizers.infos import OptimizerInfo, find
from thermocline.optimizers.muon import block_matrices, split_groups
from thermocline.tuning.plan.layer_plan import LayerPlan

OF_OPTIONS = {"lr": "optim.lr", "weight_decay": "optim.weight_decay", "params": "model.frozen_layers"}
"""Arguments that options of their own decide."""
NOT_OF_A_FIT = ("maximize", "differentiable", "capturable")
"""Arguments that a fit has no use for: a loss is minimised, no gradient passes through a step, no graph is captured."""


@dataclass(frozen=True)
class OptimizerChoice:
    """An optimizer that was asked for.

    Attributes:
        name: One of `OPTIMIZERS`, or what is recorded of a class of the caller's own (`package.module:Class`).
        arguments: By name.
        own: That class.
    """

    name: str = "adamw"
    arguments: Mapping[str, Any] = field(default_factory=dict)
    own: type | None = None

    def __hash__(self) -> int:
        return hash((self.name, repr(sorted(self.arguments.items())), self.own))

    @property
    def info(self) -> OptimizerInfo | None:
        """What is known of an optimizer with a name; None for a class of the caller's own."""
        return None if ":" in self.name else find(self.name)

    @cached_property
    def kind(self) -> type[Optimizer]:
        """The class.

        Raises:
            ConfigError: It was not given, or is no optimizer.
            MissingDependencyError: Its package is not installed.
        """
        if self.info is not None:
            return self.info.load()
        if self.own is None:
            raise ConfigError(
                f"optim.optimizer={self.name!r} is the name of a class, and no name is imported. Give the class "
                "itself, in Python: hyperparameters={'optim.optimizer': TheClass}."
            )
        if not isinstance(self.own, type) or not issubclass(self.own, Optimizer):
            raise ConfigError(
                f"optim.optimizer: {self.own!r} is no class derived from torch.optim.Optimizer. Give such a class "
                "(not an object of it: the groups of the plan are made later)."
            )
        return self.own

    def make(self, plan: LayerPlan, model: nn.Module, device: torch.device) -> Optimizer:
        """Return the optimizer over a plan's groups, which never change afterwards; fused where it can be.

        Args:
            plan: The plan.
            model: The model that it is about.
            device: Where the parameters are.
        """
        groups = plan.parameter_groups(model)
        if self.info is not None and self.info.splits:
            groups = split_groups(groups, {id(one) for one in block_matrices(plan, model).values()})
        return self.over(groups, plan.lr, device)

    def over(self, groups: Iterable[Mapping[str, Any]], lr: float, device: torch.device) -> Optimizer:
        """Return the optimizer over groups.

        Args:
            groups: Of parameters, each with its rate and weight decay.
            lr: The base rate.
            device: Where the parameters are.
        """
        arguments = {} if self.info is None else dict(self.info.defaults)
        arguments |= {name: _tuples(value) for name, value in self.arguments.items()}
        fused = self.info is not None and (self.info.fused or self.info.splits)
        if fused and device.type in ("cuda", "cpu") and not arguments.get("foreach"):
            arguments.setdefault("fused", True)
        if self.takes("lr"):
            arguments["lr"] = lr
        return self.kind([dict(group) for group in groups], **arguments)

    def takes(self, name: str) -> bool:
        """Whether the class has an argument of this name, or takes any."""
        known = inspect.signature(self.kind).parameters
        return name in known or any(one.kind is inspect.Parameter.VAR_KEYWORD for one in known.values())

    def check_arguments(self) -> None:
        """Raise where the arguments are not those of the optimizer.

        Raises:
            ConfigError: They are not.
        """
        where = f"optim.optimizer_args of {self.name}"
        names = [name for name in inspect.signature(self.kind).parameters if name not in (*OF_OPTIONS, *NOT_OF_A_FIT)]
        for name in self.arguments:
            if name in OF_OPTIONS:
                raise ConfigError(f"{where}: {name!r} has an option of its own, {OF_OPTIONS[name]}. Set that.")
            if name in NOT_OF_A_FIT:
                raise ConfigError(f"{where}: {name!r} has no use in a fit. Leave it out.")
            if not self.takes(name):
                raise ConfigError(
                    f"{where}: there is no argument {name!r}; it takes {listing(names, limit=99)}."
                    f"{did_you_mean(name, names)}"
                )


def _tuples(value: Any) -> Any:
    """Lists as tuples: what torch's optimizers have, and JSON and YAML have not."""
    return tuple(_tuples(one) for one in value) if isinstance(value, list) else value
