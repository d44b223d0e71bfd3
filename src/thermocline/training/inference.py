"""A pass over rows without training: what is computed of each batch, handed to a collector."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from thermocline.contracts.learning import Collector
from thermocline.data.batches import Rows
from thermocline.data.loading import KeptWorkers, Wanted, load
from thermocline.data.moving import moved
from thermocline.data.order import inference_order
from thermocline.data.worker_processes import chosen_number

ORDER_STREAM = 0x0BDE

MANY_BATCHES = 8
"""Batches from which worker processes pay in a pass: starting them takes longer than a few batches do."""


@dataclass(frozen=True)
class Pass:
    """How a pass over rows is made.

    Attributes:
        batch_size: Rows a batch.
        device: Where the model is.
        autocast: The precision.
        num_workers: Processes that prepare batches, where there are more than `MANY_BATCHES`; None: the usual number.
        kept: Where these stay for the next pass over the same rows; None: they end.
        in_time: Asked before every batch; False ends the pass early.
        progress: Wraps the batches, given their number.
        serving: Around every forward pass, given the batch; what it yields is run.
        without: The towers that a batch of rows goes without.
        only: Positions of the rows to pass over, sorted; None: all.
        mixed: Seed of the order of the batches behind the first, so that a pass that is cut short has seen rows from
            everywhere; None: in order. What is in a batch does not depend on it.
    """

    batch_size: int
    device: torch.device
    autocast: Callable[[], AbstractContextManager[Any]] = nullcontext
    num_workers: int | None = 0
    kept: KeptWorkers | None = None
    in_time: Callable[[], bool] = lambda: True
    progress: Callable[[Iterable[Any], int], Iterable[Any]] = lambda batches, _: batches
    serving: Callable[[Any], AbstractContextManager[Any]] = nullcontext
    without: Callable[[np.ndarray], frozenset[str]] = lambda _: frozenset()
    only: np.ndarray | None = None
    mixed: int | None = None


def collect(model: nn.Module, rows: Rows, collector: Collector, how: Pass) -> int:
    """Run a model in eval mode over all rows, and hand what is computed to a collector.

    Args:
        model: The model; its training mode is put back afterwards, module by module.
        rows: The rows.
        collector: Computes and keeps.
        how: How.

    Returns:
        How many rows were passed over: not all where `how.in_time` ended it.
    """
    if not len(rows):
        return 0
    passed = 0
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    order = _order(rows, how)
    try:
        wanted = (Wanted(part, None, how.without(part)) for part in order)
        number = chosen_number(how.num_workers, rows, how.device.type) if len(order) > MANY_BATCHES else 0
        batches = load(rows, wanted, num_workers=number, pin_memory=how.device.type == "cuda", kept=how.kept)
        ahead = how.device.type == "cuda"  # a batch is collected when the next one runs: nothing waits in between
        held: list[tuple[np.ndarray, Any]] = []
        for batch in how.progress(batches, len(order)):
            if not how.in_time():
                break
            positions = batch["rows"].numpy()
            with torch.inference_mode(), how.autocast(), how.serving(moved(batch, how.device)) as given:
                held.append((positions, collector.compute(given)))
            while len(held) > ahead:
                collector.add(*held.pop(0))
            passed += len(positions)
        for one in held:
            collector.add(*one)
    finally:
        for module, mode in modes:
            module.training = mode
    return passed


def _order(rows: Rows, how: Pass) -> list[np.ndarray]:
    only = np.arange(len(rows)) if how.only is None else how.only
    lengths = None if rows.lengths is None else rows.lengths[only]
    batches = [only[part] for part in inference_order(len(only), how.batch_size, lengths)]
    if how.mixed is None or not batches:
        return batches
    later = np.random.default_rng([how.mixed, ORDER_STREAM]).permutation(len(batches) - 1) + 1
    return [batches[0], *(batches[number] for number in later)]
