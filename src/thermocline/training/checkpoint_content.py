"""What a checkpoint holds: the state of a trainer between two steps, written and restored."""

from __future__ import annotations

import math
import time
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch.optim import Optimizer

from thermocline.errors import OutputWriteError, ResumeError, ThermoclineWarning
from thermocline.optimizers.state import numbers_by_name, restore_by_name, state_by_name
from thermocline.training import best_states
from thermocline.training.checkpoint_store import Checkpoint
from thermocline.training.run_identity import weights_hash
from thermocline.training.state import TrainingState
from thermocline.tuning.schedule.cursor import Cursor

LEAST_SECONDS = 15.0  # between checkpoints, where their number is not given: less is redone sooner than it is written
SHARE = 0.03  # of the time that writing may take then


class Cadence:
    """Says when a checkpoint is due.

    Args:
        every: Steps between checkpoints, 0 for none, `None` for as often as costs little.
    """

    def __init__(self, every: int | None) -> None:
        self.every = every
        self._last, self._cost = time.monotonic(), 0.0
        self._failed = False  # whether one could not be written

    def due(self, step: int) -> bool:
        """Say whether one should be written after this step."""
        if self.every is not None:
            return self.every > 0 and step % self.every == 0
        return time.monotonic() - self._last >= max(LEAST_SECONDS, self._cost / SHARE)

    def write(self, trainer: TrainingState, optimizer: Optimizer | None) -> None:
        """Write one; where the disk is full, warn once and go on, for training need not end by it."""
        begin = time.monotonic()
        try:
            write(trainer, optimizer)
        except OutputWriteError as error:
            if not self._failed:
                warnings.warn(
                    f"No checkpoint of step {trainer.cursor.step}: {error} Training goes on, and the next one is tried "
                    "when it is due; until then resume=True would go on from the one before.",
                    ThermoclineWarning,
                    stacklevel=4,
                )
            self._failed = True
        self.wrote(time.monotonic() - begin)

    def wrote(self, seconds: float) -> None:
        """Note that one was written now, and what that cost."""
        self._last, self._cost = time.monotonic(), seconds


def write(trainer: TrainingState, optimizer: Optimizer | None) -> Path:
    """Write a checkpoint of a trainer.

    Random numbers need no place in it: those of a step are drawn from a seed of (run, step), row orders from one of
    (run, epoch). The position in the data is that of the cursor.

    Args:
        trainer: Between two steps.
        optimizer: `None` before the first step.

    Raises:
        OutputWriteError: The disk is full.
    """
    store = trainer.run.storage.store
    assert store
    trainer.results.read()
    for logger in trainer.run.reporting.loggers:
        logger.flush()  # lines up to here are not written again
    tensors = {
        "model": best_states.tuned_state(trainer.model, trainer.frozen),
        "optimizer": state_by_name(optimizer, trainer.model) if optimizer is not None else {},
    }
    if trainer.ema is not None:
        with trainer.ema.swapped():
            tensors["average"] = best_states.tuned_state(trainer.model, trainer.frozen)
    shared = {kept.file.stem: kept.file for kept in trainer.best.kept}
    numbers = {} if optimizer is None else numbers_by_name(optimizer, trainer.model)
    content = _content(trainer) | {"optimizer": numbers, "shared": list(shared)}
    return store.write(trainer.cursor.step, content, tensors, shared)


def _content(trainer: TrainingState) -> dict[str, Any]:
    scaler = trainer.precision.scaler
    return {
        "facts": dict(trainer.run.facts),
        "cursor": trainer.cursor.to_dict(),
        "best": [{"step": kept.step, "score": kept.score} for kept in trainer.best.kept],
        "rows": trainer.record.rows,
        "rates": [[step, *rates] for step, rates in trainer.record.rates.taken.items()],
        "seconds": trainer.record.clock(),
        "losses": trainer.results.losses,
        "worse": trainer.worse,
        "to_beat": trainer.to_beat,
        "bad_steps": trainer.results.bad_steps,
        "start": trainer.start,
        "lr": trainer.lr,
        "loss": float(trainer.results.last),
        "still": _frozen_hash(trainer),
        "scoring": {"seconds": trainer.scorer.seconds},
        "callbacks": trainer.calling.content(),
        "loggers": [logger.content() for logger in trainer.run.reporting.loggers],
        "paced": _paced(trainer),
        "micro": [trainer.run.env.micro_batch_size, trainer.micro],
        "averaged": None if trainer.ema is None else trainer.ema.steps,
        "scaler": None if scaler is None else scaler.state_dict(),
    }


def restore(trainer: TrainingState, checkpoint: Checkpoint) -> None:
    """Restore a trainer to a checkpoint; its optimizer, which is not made yet, see `restore_optimizer`.

    Raises:
        ResumeError: The run has already taken more steps than it now may.
    """
    content = checkpoint.content
    cursor = Cursor.from_dict(content["cursor"])
    if cursor.step > trainer.total_steps:
        raise ResumeError(
            f"The checkpoint {str(checkpoint.folder)!r} is of step {cursor.step}, but optim.max_epochs="
            f"{trainer.run.optim.max_epochs} and optim.max_steps={trainer.run.optim.max_steps} now end the run after "
            f"{trainer.total_steps}. Let it take at least as many, or choose another path."
        )
    _check_frozen(trainer, checkpoint)
    # the step before once more: where the run is now longer, an edge may lie where it used to end
    before = replace(cursor, step=cursor.step - 1)
    planned, micro = content.get("micro", (None, None))
    if planned == trainer.run.env.micro_batch_size:  # it was halved where memory was not enough
        trainer.micro = min(trainer.micro, micro)
    paced = _paced(trainer)
    trainer.pacing.only_shorter = paced is not None and paced == content.get("paced")
    if not trainer.pacing.only_shorter:
        before = replace(before, total_steps=trainer.total_steps, share=1.0)
    trainer.cursor = trainer.run.plan.next(before)
    if trainer.ema is not None:
        best_states.restore(trainer.model, checkpoint.tensors("average"))
        trainer.ema.reset_to_model()
        trainer.ema.steps = content["averaged"]
    best_states.restore(trainer.model, checkpoint.tensors("model"))
    trainer.best.adopt(_best(checkpoint))
    rates = {int(step): values for step, *values in content["rates"]}
    trainer.record.resume(content["seconds"], content["rows"], rates)
    trainer.results.losses = [float(loss) for loss in content["losses"]]
    trainer.worse, trainer.results.bad_steps = content["worse"], content["bad_steps"]
    trainer.to_beat = float(content.get("to_beat", max((kept["score"] for kept in content["best"]), default=-math.inf)))
    trainer.start, trainer.lr = content["start"], content["lr"]
    trainer.results.last.take(content.get("loss", math.nan))
    trainer.scorer.seconds = content["scoring"]["seconds"]
    for note in trainer.calling.restore(content.get("callbacks", {})):
        trainer.record.note(note)
    if content["scaler"] is not None and trainer.precision.scaler is not None:
        trainer.precision.scaler.load_state_dict(content["scaler"])


def _paced(trainer: TrainingState) -> list[float] | None:
    """Return what the number of steps was made for under a time limit: the limit, and the steps that were planned."""
    seconds = trainer.run.time_limit.seconds
    return None if seconds is None else [seconds, trainer.total_steps]


def _best(checkpoint: Checkpoint) -> dict[int, float]:
    """Return the best states that a checkpoint names, whose weights lie beside it: step → score.

    Raises:
        ResumeError: Some do not.
    """
    best = {int(kept["step"]): float(kept["score"]) for kept in checkpoint.content["best"]}
    if not {f"step-{step}" for step in best} <= set(checkpoint.content["shared"]):
        raise ResumeError(
            f"The checkpoint {str(checkpoint.folder)!r} lacks weights that it names as best: it is damaged or was "
            "manipulated. Restore it from a copy, or start anew with resume=False."
        )
    return best


def restore_optimizer(trainer: TrainingState, optimizer: Optimizer, checkpoint: Checkpoint) -> None:
    """Restore the state of a checkpoint's optimizer to a new one."""
    numbers = checkpoint.content.get("optimizer", {})
    restore_by_name(optimizer, trainer.model, checkpoint.tensors("optimizer"), numbers)


def _frozen_hash(trainer: TrainingState) -> str:
    """Hash the weights that are always frozen, once a run: no checkpoint holds them."""
    if trainer.frozen_hash is None:
        trainer.frozen_hash = weights_hash(trainer.model, trainer.frozen)
    return trainer.frozen_hash


def _check_frozen(trainer: TrainingState, checkpoint: Checkpoint) -> None:
    """Raise unless the weights that are always frozen are those of the checkpoint's run.

    Raises:
        ResumeError: They are not.
    """
    if checkpoint.content["still"] != _frozen_hash(trainer):
        raise ResumeError(
            f"The weights of the frozen layers are not those that {str(checkpoint.folder)!r} was trained on: the "
            "pretrained weights behind them have changed. Bring the former back, or start anew with resume=False."
        )
