"""A pass over rows without training: outputs or features, in the order of the rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import nn

from thermocline.data.batches import Rows
from thermocline.data.loading import Wanted, load
from thermocline.data.order import inference_order
from thermocline.training.device import to_device


def run(
    model: nn.Module,
    rows: Rows,
    *,
    batch_size: int,
    device: torch.device,
    what: Callable[[Any], torch.Tensor] | None = None,
    autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
    num_workers: int = 0,
    go_on: Callable[[], bool] = lambda: True,
    progress: Callable[[Iterable[Any], int], Iterable[Any]] = lambda batches, _: batches,
    serving: Callable[[Any], AbstractContextManager[Any]] = nullcontext,
    without: Callable[[np.ndarray], frozenset[str]] = lambda _: frozenset(),
) -> tuple[np.ndarray, np.ndarray]:
    """Run a model in eval mode over all rows.

    Args:
        model: The model; its training mode is put back afterwards, module by module.
        rows: The rows.
        batch_size: Rows a batch.
        device: Where the model is.
        what: What to compute from a batch; the model's outputs by default.
        autocast: The precision of training.
        num_workers: Processes that prepare batches.
        go_on: Asked before every batch; False ends the pass early.
        progress: Wraps the batches, given their number.
        serving: Around every forward pass, given the batch; what it yields is run.
        without: The towers that a batch of rows goes without.

    Returns:
        float32 outputs `(rows, width)`, and which rows were reached, bool `(rows,)`.
    """
    out: np.ndarray | None = None
    reached = np.zeros(len(rows), dtype=bool)
    passes = each(
        model,
        rows,
        batch_size=batch_size,
        device=device,
        what=what,
        autocast=autocast,
        num_workers=num_workers,
        go_on=go_on,
        progress=progress,
        serving=serving,
        without=without,
    )
    for positions, values in passes:
        if out is None:
            out = np.zeros((len(rows), values.shape[1]), dtype=np.float32)
        out[positions] = values.float().cpu().numpy()
        reached[positions] = True
    return np.zeros((len(rows), 0), dtype=np.float32) if out is None else out, reached


def each(
    model: nn.Module,
    rows: Rows,
    *,
    batch_size: int,
    device: torch.device,
    what: Callable[[Any], Any] | None = None,
    autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
    num_workers: int = 0,
    go_on: Callable[[], bool] = lambda: True,
    progress: Callable[[Iterable[Any], int], Iterable[Any]] = lambda batches, _: batches,
    serving: Callable[[Any], AbstractContextManager[Any]] = nullcontext,
    without: Callable[[np.ndarray], frozenset[str]] = lambda _: frozenset(),
) -> Iterator[tuple[np.ndarray, Any]]:
    """Yield batch by batch the positions of its rows and what the model gives for them; arguments as in `run`."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    order = inference_order(len(rows), batch_size, rows.lengths)
    try:
        wanted = (Wanted(part, None, without(part)) for part in order)
        batches = load(rows, wanted, num_workers=num_workers, pin_memory=device.type == "cuda")
        for batch in progress(batches, len(order)):
            if not go_on():
                break
            positions = batch["rows"].numpy()
            with torch.inference_mode(), autocast(), serving(to_device(batch, device)) as given:
                values = (what or model)(given)
            yield positions, values
    finally:
        for module, mode in modes:
            module.training = mode
