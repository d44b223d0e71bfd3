"""Losses of rows: one a row, weighted, added up over a batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.nn import functional as F

from thermocline.contracts.learning import Objective


def row_losses(name: str, outputs: torch.Tensor, target: torch.Tensor, *, smoothing: float = 0.0) -> torch.Tensor:
    """Return one loss a row, float32 `(rows,)`.

    Args:
        name: `cross_entropy`, `bce` or `mse`.
        outputs: The model's outputs `(rows, width)`; or `(rows, members, width)`, and the mean of the members' losses
            is returned.
        target: Encoded labels as the target makes them.
        smoothing: Label smoothing, for classes (Szegedy et al. 2016).
    """
    outputs = outputs.float()
    if outputs.dim() == 3:
        rows, members, _ = outputs.shape
        repeated = target.repeat_interleave(members, dim=0)
        return row_losses(name, outputs.flatten(0, 1), repeated, smoothing=smoothing).view(rows, members).mean(dim=1)
    if name == "cross_entropy":
        return F.cross_entropy(outputs, target, reduction="none", label_smoothing=smoothing)
    if name == "bce":
        soft = target * (1 - smoothing) + smoothing / 2
        return F.binary_cross_entropy_with_logits(outputs, soft, reduction="none").mean(dim=1)
    return F.mse_loss(outputs, target, reduction="none").mean(dim=1)


def by_row(name: str, *, smoothing: float = 0.0) -> Objective:
    """Return the objective of a target with one loss a row; see `row_losses`."""

    def total(outputs: torch.Tensor, batch: Mapping[str, Any]) -> torch.Tensor:
        if name == "cross_entropy" and "weight" not in batch and outputs.dim() == 2:
            return F.cross_entropy(outputs.float(), batch["target"], reduction="sum", label_smoothing=smoothing)
        losses = row_losses(name, outputs, batch["target"], smoothing=smoothing)
        weight = batch.get("weight")
        return (losses if weight is None else losses * weight).sum()

    return Objective(total, _weight)


def _weight(batch: Mapping[str, Any]) -> float:
    weight = batch.get("weight")
    return float(len(batch["rows"]) if weight is None else weight.sum())
