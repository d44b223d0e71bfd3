"""Times a few training steps and a part of a validation, and leaves everything as it was."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from thermocline.data.batches import Batch, Rows
from thermocline.data.loading import Wanted, load_steps
from thermocline.data.order import epoch_order, micro_batches
from thermocline.efficiency.costs.estimate_plan import phase_steps
from thermocline.efficiency.costs.seconds import StepTimes
from thermocline.training.batch_norm import single_values_allowed
from thermocline.training.inference import Pass, collect
from thermocline.training.run import Run
from thermocline.training.trainer import Trainer
from thermocline.tuning.apply import LRSetter
from thermocline.tuning.plan.layer_plan import LayerPlan
from thermocline.tuning.schedule.cursor import Cursor

STEPS = 3
"""Steps that are timed, after one that is not: it makes the optimizer's state, and kernels prepare themselves in it."""

VALID_BATCHES = 3
"""Batches of validation that are timed."""


def time_steps(run: Run, clock: Callable[[], float] = time.perf_counter) -> StepTimes:
    """Return what training steps of a run take on its device, by three of them; of the phase that has the most steps.

    The steps are real: real rows, in batches of the mean size of an epoch, the loss, the optimizer. Afterwards weights,
    buffers, gradients, modes, the model's device and the generators of random numbers are as they were, and nothing has
    been cached or written.

    Args:
        run: The run; its storage may be a temporary folder.
        clock: What the seconds are read from.

    Example:
        `time_steps(run).compute`
    """
    with undone(run.model):
        trainer = Trainer(run)
        with trainer.numbers, trainer.savings.installed(), single_values_allowed(run.assembly, trainer.record):
            number, cursor = _longest_phase(run.plan, trainer)
            optimizer, watch = _ready(trainer, cursor), _Watch(trainer.device, clock)
            taken = [_timed(trainer, optimizer, parts, load, watch) for load, parts in _typical_batches(trainer, watch)]
            validation = _validation_seconds(trainer, watch)
    compute, load = (statistics.median(times) for times in zip(*taken[1:], strict=True))
    workers = run.workers
    start = trainer.learning.start
    return StepTimes(
        phase=number,
        compute=compute,
        load=load if not workers else max(0.0, load / workers - compute),
        validation=validation,
        validations=1 + trainer.length.validations(0, trainer.total_steps, run.optim.val_check_interval),
        start=0.0 if start is None else validation * len(start.rows) / max(len(run.valid), 1),
    )


@contextmanager
def undone(model: nn.Module) -> Iterator[None]:
    """Undo what happens to a model inside the context: weights, buffers, gradients, modes, device.

    Its parameters keep their identity; a copy of them is held meanwhile.
    """
    before = {name: (one.detach().clone(), one.requires_grad) for name, one in _tensors(model).items()}
    modes = [(module, module.training) for module in model.modules()]
    device = next((one.device for one, _ in before.values()), torch.device("cpu"))
    try:
        yield
    finally:
        model.to(device)
        with torch.no_grad():
            for name, tensor in _tensors(model).items():  # by name: another device gives buffers anew
                value, requires_grad = before[name]
                tensor.requires_grad = requires_grad
                tensor.grad = None
                tensor.copy_(value)
        for module, mode in modes:
            module.training = mode


def _tensors(model: nn.Module) -> dict[str, torch.Tensor]:
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


@dataclass(frozen=True)
class _Watch:
    """Reads a clock when a device has done what it was given."""

    device: torch.device
    clock: Callable[[], float]

    def now(self) -> float:
        """Return the seconds that the clock shows."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        elif self.device.type == "mps":
            torch.mps.synchronize()
        return self.clock()


def _longest_phase(plan: LayerPlan, trainer: Trainer) -> tuple[int, Cursor]:
    """Return the number of the phase that has the most steps, the last of several, and a cursor at its first step."""
    steps = phase_steps(plan) or [0] * len(plan.phases)
    number = max(range(len(steps)), key=lambda each: (steps[each], each))
    start = sum(steps[:number])
    return number, Cursor(start, trainer.total_steps, number, start, trainer.steps_per_epoch)


def _ready(trainer: Trainer, cursor: Cursor) -> Any:
    """Put the model into a phase, and return an optimizer at its rates; nothing is cached."""
    trainer.applied.at(cursor)
    trainer.applied.train()
    if trainer.savings.checkpoints is not None:
        trainer.savings.checkpoints.update(trainer.run.plan.timeline.trains(cursor))
    optimizer = trainer.make_optimizer()
    LRSetter(optimizer, trainer.run.plan)(cursor)
    return optimizer


def _timed(trainer: Trainer, optimizer: Any, parts: list[Batch], load: float, watch: _Watch) -> tuple[float, float]:
    """Take a step on given batches; return its seconds, and those that the batches took."""
    begin = watch.now()
    trainer.stepper.seed(1)
    trainer.stepper.gradients(parts, 0, cached=False)
    trainer.stepper.clip(optimizer, trainer.trainable)
    trainer.stepper.update(optimizer)
    if trainer.ema is not None:
        trainer.ema.update()
    optimizer.zero_grad(set_to_none=True)
    return watch.now() - begin, load


def _typical_batches(trainer: Trainer, watch: _Watch) -> Iterator[tuple[float, list[Batch]]]:
    """Yield the batches of steps that are nearest to the mean of an epoch in size, and what making them took."""
    steps = _epoch_steps(trainer)
    sizes = np.array([_size(parts, trainer.run.train) for parts in steps])
    nearest = np.argsort(np.abs(sizes - sizes.mean()), kind="stable")
    chosen = [steps[number] for number in np.resize(nearest[: STEPS + 1], STEPS + 1)]
    wanted = iter([[Wanted(part, 0) for part in parts] for parts in chosen])
    batches = load_steps(trainer.run.train, wanted, num_workers=0, pin_memory=trainer.device.type == "cuda")
    for _ in chosen:
        begin = watch.now()
        parts = next(batches)
        yield watch.now() - begin, parts


def _epoch_steps(trainer: Trainer) -> list[list[np.ndarray]]:
    """Return the rows of the micro-batches of every step of the first epoch."""
    run = trainer.run
    lengths = run.train.lengths
    order = epoch_order(len(run.train), trainer.batch_size, seed=run.seed, epoch=0, lengths=lengths)
    tokens = run.env.micro_batch_tokens
    return [micro_batches(rows, most_rows=trainer.micro, most_tokens=tokens, lengths=lengths) for rows in order]


def _size(parts: Sequence[np.ndarray], rows: Rows) -> int:
    """Return the padded tokens of a step, or its rows where there are no lengths."""
    lengths = rows.lengths
    return sum(len(part) * (1 if lengths is None else int(lengths[part].max())) for part in parts)


def _validation_seconds(trainer: Trainer, watch: _Watch) -> float:
    """Return what a validation takes, by batches of rows from everywhere."""
    run = trainer.run
    size, rows = run.env.eval_batch_size, len(run.valid)
    assert size
    if not rows:
        return 0.0
    lengths = run.valid.lengths
    order = np.arange(rows) if lengths is None else np.argsort(-lengths, kind="stable")
    few = min(rows, VALID_BATCHES * size)
    spread = np.sort(order[np.linspace(0, rows - 1, few).round().astype(np.int64)])
    _pass(trainer, spread[: min(size, len(spread))], watch)
    return _pass(trainer, spread, watch) * rows / len(spread)


def _pass(trainer: Trainer, positions: np.ndarray, watch: _Watch) -> float:
    """Return what a pass over some validation rows takes."""
    run = trainer.run
    collector = run.assembly.problem.collector(run.assembly, run.valid, run.valid_found, scoring=True)
    how = Pass(run.env.eval_batch_size or 1, trainer.device, trainer.precision.autocast, only=positions)
    begin = watch.now()
    collect(run.model, run.valid, collector, how)
    return watch.now() - begin
