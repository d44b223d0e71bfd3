"""Training on, from the state that is kept, on the training and validation rows together.

Of few rows a fifth validates, and a tuned model has not seen them. Nothing tells how good a state is that has, so that
its length is fixed before, and the rates fall to 0 on the way.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch.nn import functional as F

from thermocline.data.batches import Batch, Rows
from thermocline.data.order import epoch_order, micro_batches
from thermocline.training import best_states
from thermocline.training.state import TrainingState
from thermocline.training.stepping import loss_of

PASSES = 4.0  # a training step over rows, in passes without gradients


def train_on_all(trainer: TrainingState, epochs: int) -> bool:
    """Train for some epochs on all rows, and leave the last state in the model, in eval mode.

    The layers that trained last do, at the plan's rates, which fall to 0 in a line.

    Args:
        trainer: With the state that is kept in its model.
        epochs: Passes over all rows.

    Returns:
        Whether it was done. Without time, or where a loss is not finite, the model stays as it was.
    """
    if not _time_for(trainer, epochs):
        return False
    before = best_states.tuned_state(trainer.model, trainer.frozen)
    done = False
    try:
        done = _trained(trainer, epochs)
    finally:
        if not done:
            best_states.restore(trainer.model, before)
        trainer.model.eval()
    return done


def _time_for(trainer: TrainingState, epochs: int) -> bool:
    valid, train = len(trainer.run.valid), len(trainer.run.train)
    seconds = trainer.scorer.seconds * (train + valid) / max(valid, 1) * PASSES * epochs
    return trainer.run.time_limit.allows(seconds)


def _trained(trainer: TrainingState, epochs: int) -> bool:
    optimizer, stepper, run = trainer.make_optimizer(), trainer.stepper, trainer.run
    rates = [group["lr"] for group in optimizer.param_groups]
    first = trainer.length.total_steps // trainer.length.steps_per_epoch
    steps = [(epoch, parts) for epoch in range(first, first + epochs) for parts in _epoch(trainer, epoch)]
    seeds = np.random.default_rng([run.seed, 0xA11]).integers(2**63, size=len(steps))
    trainer.applied.train()
    optimizer.zero_grad(set_to_none=True)
    for step, (epoch, parts) in enumerate(steps):
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * (1 - step / len(steps))
        batches = [_batch(run.train, run.valid, rows, epoch) for rows in parts]
        stepper.seed_with(int(seeds[step]))
        loss = loss_of(stepper.gradients(batches, epoch, cached=False))
        if not math.isfinite(loss) or not math.isfinite(stepper.clip(optimizer, trainer.trainable)):
            return False
        stepper.update(optimizer)
        optimizer.zero_grad(set_to_none=True)
        if run.time_limit.left <= 0:
            return False
    return True


def _epoch(trainer: TrainingState, epoch: int) -> Iterator[list[np.ndarray]]:
    """Yield the micro-batches of every step: positions in the training rows and, behind them, the validation rows."""
    run = trainer.run
    train, valid = run.train.lengths, run.valid.lengths
    lengths = None if train is None or valid is None else np.concatenate([train, valid])
    rows = len(run.train) + len(run.valid)
    for step in epoch_order(rows, trainer.batch_size, seed=run.seed, epoch=epoch, lengths=lengths):
        tokens = run.env.micro_batch_tokens
        yield micro_batches(step, most_rows=trainer.micro, most_tokens=tokens, lengths=lengths)


def _batch(train: Rows, valid: Rows, rows: np.ndarray, epoch: int) -> Batch:
    """Return a batch of rows of both, those of training first and augmented."""
    own, other = rows[rows < len(train)], rows[rows >= len(train)] - len(train)
    parts = [train.batch(own, epoch)] if len(own) else []
    parts += [valid.batch(other)] if len(other) else []
    return parts[0] if len(parts) == 1 else joined(*parts)


def joined(one: Batch, other: Batch) -> Batch:
    """Return the rows of two batches in one; of sequences the shorter are padded with zeros, as masked tokens are."""
    batch: Batch = {}
    for name, value in one.items():
        if isinstance(value, torch.Tensor):
            width = max(value.shape[-1], other[name].shape[-1]) if value.dim() > 1 else 0
            both = [F.pad(each, (0, width - each.shape[-1])) if width else each for each in (value, other[name])]
            batch[name] = torch.cat(both)
        else:
            batch[name] = joined(value, other[name])
    return batch
