"""A model of pairs that starts from an earlier one: its towers, and projections of the same shape."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from thermocline.contracts.starting import WHOLE, Earlier, Started
from thermocline.errors import listing
from thermocline.tuning.layers.layer_map import LayerMap


def head_from(earlier: Earlier, model: Any, anew: Mapping[str, str]) -> tuple[Started, tuple[str, ...]]:
    """Write earlier projections into a model, where all of them fit, and return what was taken, and lines on it.

    Args:
        earlier: The predictor that the fit starts from.
        model: The model, which has its towers.
        anew: Tower → why it was built anew.
    """
    before, head = earlier.assembly.model.head, model.head
    towers = tuple(name for name in model.towers if name not in anew)
    started = Started(earlier.where, earlier.fingerprint, towers)
    lines = [f"{started}: the towers {listing(towers)}"]
    lines += [f"{name} tower: starts anew, {why}" for name, why in anew.items()]
    fits = not anew and all(
        name in before and before[name].weight.shape == one.weight.shape for name, one in head.items()
    )
    if not fits:
        return started, (*lines, "the projections start anew")
    with torch.no_grad():
        for name, one in head.items():
            one.load_state_dict(before[name].state_dict())
    return replace(started, head=WHOLE), (*lines, "the projections are those of that fit")


def with_known_head(layer_map: LayerMap) -> LayerMap:
    """Return the layers of a model whose projections were taken."""
    layers = (replace(one, pretrained=True) if one.role == "head" else one for one in layer_map.layers)
    return replace(layer_map, layers=tuple(layers))
