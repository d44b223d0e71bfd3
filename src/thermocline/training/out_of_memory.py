"""A step that does not fit into memory is repeated with smaller micro-batches."""

from __future__ import annotations

import gc
from collections.abc import Sequence

import numpy as np
import torch

from thermocline.data.batches import Batch
from thermocline.data.loading import Wanted, load
from thermocline.errors import NotEnoughMemoryError
from thermocline.training.state import TrainingState

MESSAGES = ("DefaultCPUAllocator", "out of memory", "ALLOC_FAILED")
"""Parts of messages of torch's RuntimeErrors: of the CPU, of MPS and drivers, of cuBLAS and cuDNN."""


def gradients_that_fit(trainer: TrainingState, step: int, parts: Sequence[Batch]) -> tuple[torch.Tensor, ...]:
    """Add up the gradients of a step, and return its losses; without memory for it, try again in halves.

    A step is repeated with the same seed, and the smaller micro-batch stays for the rest of the run. Running statistics
    of a BatchNorm in training mode have then seen some rows twice.

    Args:
        trainer: Between two steps; its `micro` may become smaller.
        step: The step, from 1.
        parts: The micro-batches.

    Raises:
        NotEnoughMemoryError: A micro-batch cannot be made smaller.
    """
    epoch = (step - 1) // trainer.steps_per_epoch
    while True:
        trainer.stepper.seed(step)
        said = _attempt(trainer, parts, epoch)
        if not isinstance(said, str):
            return said
        for parameter in trainer.trainable:
            parameter.grad = None
        _release()
        _halve(trainer, step, max(len(part["rows"]) for part in parts), said)


def is_out_of_memory(error: BaseException) -> bool:
    """Say whether an error is one of memory that is not there: CUDA's, the CPU's, or Python's."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(part in str(error) for part in MESSAGES)


def _attempt(trainer: TrainingState, parts: Sequence[Batch], epoch: int) -> tuple[torch.Tensor, ...] | str:
    """Return the losses, or what the allocator said; its traceback, which holds tensors, ends here."""
    small = [part for one in parts for part in _cut(trainer, one, epoch)]
    try:
        return trainer.stepper.gradients(small, epoch)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return str(error)


def _halve(trainer: TrainingState, step: int, rows: int, said: str) -> None:
    """Make micro-batches half as large for the rest of the run.

    Args:
        trainer: The trainer.
        step: The step that did not fit.
        rows: Rows of its largest micro-batch as it was planned.
        said: What the allocator said.

    Raises:
        NotEnoughMemoryError: They have one row, or rows are compared with each other.
    """
    before = min(trainer.micro, rows)
    if before < 2 or trainer.learning.objective.whole_batch:
        reason = "a single row" if before < 2 else f"a batch of {before:,} rows, which are compared with each other,"
        raise NotEnoughMemoryError(
            f"Step {step}: {reason} does not fit into the memory of {trainer.device}. Train fewer layers "
            "(model.*.frozen_layers), in env.precision=bf16, on smaller images or shorter texts, or with a smaller "
            f"backbone{'' if before < 2 else ', or lower env.batch_size'}. The allocator said: {said.splitlines()[0]}"
        )
    trainer.micro = -(-before // 2)
    trainer.record.note(
        f"out of memory at step {step}: env.micro_batch_size {before:,} → {trainer.micro:,}, and the step is repeated"
    )


def _cut(trainer: TrainingState, batch: Batch, epoch: int) -> list[Batch]:
    """Return a batch of training rows in micro-batches as they are now."""
    rows, most = batch["rows"].numpy(), trainer.micro
    if len(rows) <= most:
        return [batch]
    parts = np.array_split(rows, -(-len(rows) // most))
    cache = trainer.savings.cache
    return list(load(trainer.run.train, [Wanted(part, epoch, cache.ready("train", part, epoch)) for part in parts]))


def _release() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
