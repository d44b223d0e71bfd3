"""Rates at which an optimizer step changes no float32 weight: it is rounded away."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import nn

from thermocline.errors import listing
from thermocline.tuning.layers.folding import folded_runs
from thermocline.tuning.plan.decisions import Decisions
from thermocline.tuning.plan.optimizer_groups import found_parameters

USUAL_WEIGHT = 0.02
"""The size of a weight where no model tells it: the standard deviation at which BERT and ViT are initialised."""


def too_small_rates(plan: Decisions, model: nn.Module | None = None) -> Iterator[str]:
    """Yield a line about the layers whose rate never reaches what moves a weight, if there are any.

    AdamW changes a weight by about the rate in a step (Kingma and Ba 2015, section 2.1). Many steps do not add up: each
    is rounded by itself.

    Args:
        plan: The plan.
        model: The model that it is for: a weight of its layers is taken at the median size of their matrices.

    Raises:
        ConfigError: The plan is for another model.
    """
    usual = {} if model is None else _sizes(plan, model)
    small = {}
    for layer in plan.layers:
        rate, size = plan.lr * plan.peaks[layer.label], usual.get(layer.label, USUAL_WEIGHT)
        if layer.n_parameters and 0 < rate < _smallest_change(size):
            small[layer.label] = rate, size
    if not small:
        return
    runs = folded_runs(plan.layers, lambda layer: (layer.tower, layer.label in small))
    names = [f"{run[0].tower}/{name}" for name, run in runs if run[0].label in small]
    rate, size = max(rate for rate, _ in small.values()), min(size for _, size in small.values())
    yield (
        f"{listing(names, limit=3)}: rates of at most {rate:.2g} are too small to move float32 weights of "
        f"{'the usual' if model is None else 'their'} size, {size:.2g}. AdamW changes a weight by about the rate, and "
        f"less than {_smallest_change(size):.2g} is rounded away. Freeze these layers, which costs less, or raise "
        "their rates (optim.lr, optim.lr_min_scale, the factor of a schedule)"
    )


def _smallest_change(size: float) -> float:
    """Half the distance from a float32 number of this size to the next: what is less is rounded away."""
    return 2.0 ** (math.frexp(size)[1] - 25)


def _sizes(plan: Decisions, model: nn.Module) -> dict[str, float]:
    """Per layer the median size of the weights in its matrices that are not 0; without any, it is left out."""
    parameters = found_parameters(plan, model)
    sizes = {}
    for layer in plan.layers:
        own = [parameters[name] for name in layer.parameters]
        parts = [one.detach().abs().flatten().float() for one in own if one.ndim > 1 and not one.is_meta]
        values = torch.cat(parts) if parts else torch.empty(0)
        values = values[values > 0]
        if len(values):
            sizes[layer.label] = float(values.median())
    return sizes
