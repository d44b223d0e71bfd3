"""Losses, weighted by row."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Objective:
    """What is made small. The loss of a step is the sum over its micro-batches, divided by what they weigh together.

    Attributes:
        total: Of a model's outputs and its batch: the sum of the losses in it, each times its weight.
        weight: Of a batch: the sum of these weights.
    """

    total: Callable[[Any, Mapping[str, Any]], torch.Tensor]
    weight: Callable[[Mapping[str, Any]], float]


def by_row(name: str, *, smoothing: float = 0.0) -> Objective:
    """Return the objective of a task with one loss a row; see `row_losses`."""

    def objective(outputs: torch.Tensor, batch: Mapping[str, Any]) -> torch.Tensor:
        if name == "cross_entropy" and "weight" not in batch:
            return F.cross_entropy(outputs.float(), batch["target"], reduction="sum", label_smoothing=smoothing)
        losses = row_losses(name, outputs, batch["target"], smoothing=smoothing)
        weight = batch.get("weight")
        return (losses if weight is None else losses * weight).sum()

    return Objective(objective, _rows_weight)


def of_detector() -> Objective:
    """Return the objective of a detector: its own loss, which is a mean over boxes, so that a box weighs 1."""
    return Objective(lambda outputs, batch: outputs["loss"] * _boxes_weight(batch), _boxes_weight)


def _rows_weight(batch: Mapping[str, Any]) -> float:
    weight = batch.get("weight")
    return float(len(batch["rows"]) if weight is None else weight.sum())


def _boxes_weight(batch: Mapping[str, Any]) -> float:
    return max(float(batch["detector"]["counts"].sum()), 1.0)
