"""Parameters of a model of transformers that depend on the number of classes, and their values for new classes."""

from __future__ import annotations

import copy
from collections.abc import Collection
from typing import Any

import torch
from torch import nn

from thermocline.tuning.layers.detector_parts import offline


def class_dependent(model: nn.Module) -> frozenset[str]:
    """Return the names of parameters (tied ones under each of their names) whose shape depends on the classes."""
    config: Any = copy.deepcopy(model.config)
    config.num_labels = int(config.num_labels) + 1
    with torch.device("meta"):
        wider = type(model)(offline(config))
    shapes = {name: p.shape for name, p in wider.named_parameters(remove_duplicate=False)}
    own = model.named_parameters(remove_duplicate=False)
    return frozenset(name for name, p in own if shapes.get(name, p.shape) != p.shape)


@torch.no_grad()
def initialise(model: nn.Module, names: Collection[str], config: Any) -> None:
    """Give parameters the values that the model's own class starts from: class biases start from a prior.

    Args:
        model: The model; it is changed.
        names: The parameters.
        config: Its configuration.
    """
    twin = type(model)(config)
    start = dict(twin.named_parameters(remove_duplicate=False))
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if name in names:
            parameter.copy_(start[name])
