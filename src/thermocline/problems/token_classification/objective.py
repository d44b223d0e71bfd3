"""The loss: cross-entropy of each token that has a tag, its mean over the whole batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor
from torch.nn import functional as F

from thermocline.contracts.learning import Objective
from thermocline.data.moving import on_host
from thermocline.problems.token_classification.model import TOWER
from thermocline.problems.token_classification.rows import IGNORED

NOTHING = 1e-9
"""The weight of a batch without any tagged token, whose loss is 0."""


def over_tokens(smoothing: float = 0.0) -> Objective:
    """Return the objective: each tagged token counts 1, or what its row does.

    A step's loss is the sum over its micro-batches by their weight, so it is the mean over tagged tokens of the whole
    batch, however it is cut.

    Args:
        smoothing: Label smoothing (Szegedy et al. 2016).
    """

    def total(outputs: torch.Tensor, batch: Mapping[str, Any]) -> torch.Tensor:
        losses = token_losses(outputs, batch[TOWER]["tags"], smoothing)
        weight = batch.get("weight")
        return (losses if weight is None else losses * weight.unsqueeze(1)).sum()

    return Objective(total, _weight)


def token_losses(outputs: torch.Tensor, tags: torch.Tensor, smoothing: float = 0.0) -> torch.Tensor:
    """Return the loss of each token, float32 `(windows, tokens)`, 0 where it has no tag."""
    flat = outputs.float().flatten(0, 1)
    losses = F.cross_entropy(flat, tags.flatten(), reduction="none", ignore_index=IGNORED, label_smoothing=smoothing)
    return losses.view(tags.shape)


def _weight(batch: Mapping[str, Any]) -> float:
    tags = on_host(batch[TOWER], "tags")
    if isinstance(tags, FakeTensor):  # a forecast of memory: there are no values to count
        return float(tags.numel())
    tagged = tags != IGNORED
    weight = on_host(batch, "weight") if "weight" in batch else None
    count = float(tagged.sum() if weight is None else (tagged * weight.unsqueeze(1)).sum())
    return count or NOTHING
