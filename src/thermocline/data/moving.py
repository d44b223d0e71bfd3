"""Batches on a device, with the host's copy beside: what steers the program is read there and not from the device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

HOST = "host"
"""Where a part of a batch that was moved holds itself as it was before."""


def to_device(batch: Any, device: torch.device) -> Any:
    """Move the tensors of a nested batch to a device (not at all where they are there already)."""
    if isinstance(batch, torch.Tensor):
        return batch.to(device, non_blocking=True)
    return {key: to_device(value, device) for key, value in batch.items()}


def moved(batch: Mapping[str, Any], device: torch.device) -> dict[str, Any]:
    """Move a nested batch to a device, each part with its host's copy (`on_host`); on the CPU it is as it was.

    Args:
        batch: On the host.
        device: Where to.
    """
    if device.type == "cpu":
        return dict(batch)
    out: dict[str, Any] = {
        key: value.to(device, non_blocking=True) if isinstance(value, torch.Tensor) else moved(value, device)
        for key, value in batch.items()
    }
    out[HOST] = batch
    return out


def on_host(batch: Mapping[str, Any], name: str) -> torch.Tensor:
    """Return a tensor of a part of a batch from its host's copy, or where it has none, as it is.

    To read a number from a device takes until all is done that it was given to do.

    Args:
        batch: A batch, or a tower's part of one.
        name: Of the tensor.
    """
    value: torch.Tensor = batch.get(HOST, batch)[name]
    return value


def sent(values: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Return a small tensor of the host on a device, which nobody waits for."""
    if device.type == "cuda" and values.device.type == "cpu":
        values = values.pin_memory()
    return values.to(device, non_blocking=True)
