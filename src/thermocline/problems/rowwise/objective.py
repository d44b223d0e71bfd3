"""Losses of rows: one a row, weighted, added up over a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor
from torch.nn import functional as F

from thermocline.contracts.learning import Objective
from thermocline.errors import ConfigError
from thermocline.problems.rowwise.losses import Loss

MARGIN = 0.05
"""Probabilities of absent labels below this cost nothing in the asymmetric loss, as in Ridnik et al. 2021."""


def row_losses(
    loss: str | Loss,
    outputs: torch.Tensor,
    target: torch.Tensor,
    *,
    smoothing: float = 0.0,
    label_weights: Sequence[float] = (),
    weight: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return one loss a row, float32 `(rows,)`, before row weights.

    Args:
        loss: The loss, or `cross_entropy`, `bce` or `mse`.
        outputs: The model's outputs `(rows, width)`; or `(rows, members, width)`, and the mean of the members' losses
            is returned.
        target: Encoded labels as the target makes them.
        smoothing: Label smoothing, for classes (Szegedy et al. 2016).
        label_weights: Of several labels, what each counts where a row has it; empty: 1.
        weight: Row weights `(rows,)`, which only a function of the caller's own sees.
    """
    outputs = outputs.float()
    if outputs.dim() == 3:
        rows, members, _ = outputs.shape
        repeated = target.repeat_interleave(members, dim=0)
        each = None if weight is None else weight.repeat_interleave(members)
        options: dict[str, Any] = {"smoothing": smoothing, "label_weights": label_weights, "weight": each}
        return row_losses(loss, outputs.flatten(0, 1), repeated, **options).view(rows, members).mean(dim=1)
    if isinstance(loss, Loss) and loss.own:
        return _each_row(own_losses(loss, outputs, target, weight), loss, len(outputs))
    name, numbers = (loss, ()) if isinstance(loss, str) else (loss.name, loss.numbers)
    if name in ("mse", "mae", "huber", "quantile", "quantiles"):
        return _of_numbers(name, numbers, outputs, target)
    if target.is_floating_point():
        return _of_labels(name, numbers, outputs, target * (1 - smoothing) + smoothing / 2, label_weights)
    if name == "focal":
        return _focal(outputs, target, numbers[0], smoothing)
    return F.cross_entropy(outputs, target, reduction="none", label_smoothing=smoothing)


def own_losses(loss: Loss, outputs: torch.Tensor, target: torch.Tensor, weight: torch.Tensor | None) -> torch.Tensor:
    """Return what a function of the caller's own gives."""
    if isinstance(outputs, FakeTensor):  # a forecast of memory: there are no values to call it with
        return outputs.sum(dim=1)
    assert loss.function is not None
    weight = torch.ones(len(outputs), device=outputs.device) if weight is None else weight
    losses: torch.Tensor = loss.function(outputs, target, weight)
    return losses


def _each_row(losses: torch.Tensor, loss: Loss, rows: int) -> torch.Tensor:
    """Return losses that are one a row; of a single row whatever shape `squeeze` left.

    Raises:
        ConfigError: They are not, which would spread them over the weights of other rows.
    """
    if tuple(losses.shape) == (rows,):
        return losses
    if rows == 1 and losses.numel() == 1:
        return losses.reshape(1)
    raise ConfigError(
        f"optim.loss: {loss.name} returned a tensor {tuple(losses.shape)} for {rows} rows. It returns the loss of each "
        f"row, ({rows},), for any number of rows."
    )


def by_row(loss: str | Loss, *, smoothing: float = 0.0, label_weights: Sequence[float] = ()) -> Objective:
    """Return the objective of a target with one loss a row; see `row_losses`."""

    def total(outputs: torch.Tensor, batch: Mapping[str, Any]) -> torch.Tensor:
        if loss == "cross_entropy" and "weight" not in batch and outputs.dim() == 2:
            return F.cross_entropy(outputs.float(), batch["target"], reduction="sum", label_smoothing=smoothing)
        weight = batch.get("weight")
        options: dict[str, Any] = {"smoothing": smoothing, "label_weights": label_weights, "weight": weight}
        losses = row_losses(loss, outputs, batch["target"], **options)
        return (losses if weight is None else losses * weight).sum()

    return Objective(total, _weight)


def _weight(batch: Mapping[str, Any]) -> float:
    weight = batch.get("weight")
    return float(len(batch["rows"]) if weight is None else weight.sum())


def _of_numbers(name: str, numbers: Sequence[float], outputs: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    if name == "mse":
        return F.mse_loss(outputs, target, reduction="none").mean(dim=1)
    if name == "mae":
        return F.l1_loss(outputs, target, reduction="none").mean(dim=1)
    if name == "huber":
        return F.huber_loss(outputs, target, reduction="none", delta=numbers[0]).mean(dim=1)
    levels = torch.tensor(numbers, dtype=outputs.dtype, device=outputs.device)
    errors = target - outputs
    return torch.maximum(levels * errors, (levels - 1) * errors).mean(dim=1)


def _of_labels(
    name: str, numbers: Sequence[float], outputs: torch.Tensor, soft: torch.Tensor, weights: Sequence[float]
) -> torch.Tensor:
    """Return the mean over labels; `soft` is 1 where a row has a label, 0 where not, or smoothed."""
    positive = torch.tensor(weights, dtype=outputs.dtype, device=outputs.device) if len(weights) else None
    if name in ("bce", "cross_entropy"):
        return F.binary_cross_entropy_with_logits(outputs, soft, reduction="none", pos_weight=positive).mean(dim=1)
    present, absent = F.softplus(-outputs), F.softplus(outputs)
    chance = torch.sigmoid(outputs)
    if name == "focal":
        up, down = _power(1 - chance, numbers[0]) * present, _power(chance, numbers[0]) * absent
    else:
        left = (chance - MARGIN).clamp(min=0.0, max=1 - 1e-6)
        up, down = _power(1 - chance, numbers[1]) * present, -_power(left, numbers[0]) * torch.log1p(-left)
    up = up if positive is None else up * positive
    return (soft * up + (1 - soft) * down).mean(dim=1)


def _focal(outputs: torch.Tensor, target: torch.Tensor, gamma: float, smoothing: float) -> torch.Tensor:
    logs = outputs.log_softmax(dim=1)
    soft = F.one_hot(target, outputs.shape[1]) * (1 - smoothing) + smoothing / outputs.shape[1]
    return -(soft * _power(1 - logs.exp(), gamma) * logs).sum(dim=1)


def _power(share: torch.Tensor, gamma: float) -> torch.Tensor:
    """Return a power whose slope is finite at 0."""
    return share.clamp(min=1e-7) ** gamma
