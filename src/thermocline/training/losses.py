"""Losses, weighted by row."""

from __future__ import annotations

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
