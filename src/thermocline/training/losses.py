"""Losses, weighted by row."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.nn import functional as F


def row_losses(name: str, outputs: torch.Tensor, target: torch.Tensor, *, smoothing: float = 0.0) -> torch.Tensor:
    """Return one loss a row, float32 `(rows,)`.

    Args:
        name: `cross_entropy`, `bce` or `mse`.
        outputs: The model's outputs `(rows, width)`.
        target: Encoded labels as the task makes them.
        smoothing: Label smoothing, for classes (Szegedy et al. 2016).
    """
    outputs = outputs.float()
    if name == "cross_entropy":
        return F.cross_entropy(outputs, target, reduction="none", label_smoothing=smoothing)
    if name == "bce":
        soft = target * (1 - smoothing) + smoothing / 2
        return F.binary_cross_entropy_with_logits(outputs, soft, reduction="none").mean(dim=1)
    return F.mse_loss(outputs, target, reduction="none").mean(dim=1)


Objective = Callable[[Any, Mapping[str, Any]], torch.Tensor]
"""Of a model's outputs and its batch: the sum of the rows' losses, each times its weight."""


def by_row(name: str, *, smoothing: float = 0.0) -> Objective:
    """Return the objective of a task with one loss a row; see `row_losses`."""

    def objective(outputs: torch.Tensor, batch: Mapping[str, Any]) -> torch.Tensor:
        losses = row_losses(name, outputs, batch["target"], smoothing=smoothing)
        weight = batch.get("weight")
        return (losses if weight is None else losses * weight).sum()

    return objective
