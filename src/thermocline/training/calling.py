"""Calls the callbacks of a run, and keeps what they remember in its checkpoints."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from thermocline.errors import ConfigError
from thermocline.registry import metric_of
from thermocline.training.callbacks import Callback, FitState
from thermocline.training.state import TrainingState


class Calling:
    """The callbacks of a run.

    Args:
        callbacks: In the order in which they are called.

    Attributes:
        stopped: Who asked for the end of training and why, in words; empty while nobody did.
    """

    def __init__(self, callbacks: Sequence[Callback]) -> None:
        self.callbacks = tuple(callbacks)
        self.stopped = ""

    def fit_begins(self, trainer: TrainingState) -> None:
        """Call `on_fit_begin`."""
        for callback in self.callbacks:
            callback.on_fit_begin(self._state(trainer, callback))

    def validation_ends(self, trainer: TrainingState) -> None:
        """Call `on_validation_end`."""
        for callback in self.callbacks:
            callback.on_validation_end(self._state(trainer, callback))

    def fit_ends(self, trainer: TrainingState) -> None:
        """Call `on_fit_end`, with the scores of the state that is kept."""
        if self.callbacks:
            scores = trainer.record.history().kept_scores
            for callback in self.callbacks:
                callback.on_fit_end(self._state(trainer, callback, scores))

    def content(self) -> dict[str, Any]:
        """Return what a checkpoint keeps of the callbacks.

        Raises:
            ConfigError: A callback remembers what JSON cannot hold.
        """
        return {"stopped": self.stopped, "states": [[_kind(one), _plain(one)] for one in self.callbacks]}

    def restore(self, content: Mapping[str, Any]) -> list[str]:
        """Give the callbacks back what a checkpoint kept of them: the first of a class to the first, and so on.

        Returns:
            A line for each callback that the checkpoint knows nothing of.
        """
        self.stopped = str(content.get("stopped", ""))
        states = [(str(kind), dict(state)) for kind, state in content.get("states", [])]
        notes = []
        for callback in self.callbacks:
            found = next((place for place, (kind, _) in enumerate(states) if kind == _kind(callback)), None)
            if found is None:
                notes.append(f"the checkpoint has no state of the callback {_kind(callback)}, which starts anew")
            else:
                callback.load_state_dict(states.pop(found)[1])
        return notes

    def _state(self, trainer: TrainingState, callback: Callback, scores: Mapping[str, float] | None = None) -> FitState:
        target, info = trainer.run.assembly.target, trainer.run.assembly.problem.info
        rows = [row for row in trainer.record.rows if any(name.startswith("val_") for name in row)]
        last: Mapping[str, Any] = rows[-1] if rows else {}
        shown = {name.removeprefix("val_"): one for name, one in last.items() if name.startswith("val_")}
        best = trainer.best.best
        return FitState(
            step=trainer.cursor.step,
            total_steps=trainer.cursor.total_steps,
            epoch=trainer.cursor.step / trainer.length.steps_per_epoch,
            train_loss=last.get("train_loss", math.nan),
            lr=trainer.lr,
            metric=target.eval_metric,
            greater_is_better=metric_of(info, target).greater_is_better,
            scores=shown if scores is None else scores,
            best_step=None if best is None else best.step,
            seconds=trainer.record.clock(),
            _stop=lambda why: self._stop(callback, why),
        )

    def _stop(self, callback: Callback, why: str) -> None:
        self.stopped = self.stopped or f"stopped by {_kind(callback)}: {why}"


def _kind(callback: Callback) -> str:
    return type(callback).__qualname__


def _plain(callback: Callback) -> dict[str, Any]:
    state = callback.state_dict()
    try:
        plain: dict[str, Any] = json.loads(json.dumps(state))
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"state_dict of the callback {_kind(callback)} returns what JSON cannot hold ({error}). Return a dict of "
            "texts, numbers, truth values, None, lists and dicts."
        ) from None
    if not isinstance(plain, dict):
        raise ConfigError(f"state_dict of the callback {_kind(callback)} returns {state!r}; it returns a dict.")
    return plain
