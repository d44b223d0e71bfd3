"""Calls the callbacks of a run, and keeps what they remember in its checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from typing import Any

from thermocline.errors import ConfigError
from thermocline.registry import metric_of
from thermocline.training.callbacks import HOOKS, Callback, FitState, OfFit
from thermocline.training.remembered import kind_of, plain_state
from thermocline.training.state import TrainingState
from thermocline.tuning.schedule.cursor import Cursor

Hook = Callable[[FitState], None]

OWN_NAMES = ("loss", "train_loss", "lr")
OWN_PREFIXES = ("lr/", "frozen/", "val_")
"""Names, and beginnings of names, under which the fit itself logs."""

NOT_BEGUN = -1


class Calling:
    """The callbacks of a run.

    Args:
        callbacks: In the order in which they are called.

    Attributes:
        stopped: Who asked for the end of training and why, in words; empty while nobody did.
        phase: The number of the phase that has begun and not ended; `NOT_BEGUN` between two.
        epoch: Likewise of the epoch.
    """

    def __init__(self, callbacks: Sequence[Callback]) -> None:
        self.callbacks = tuple(callbacks)
        self.stopped = ""
        self.phase = self.epoch = NOT_BEGUN
        self._hooks = {name: _overridden(self.callbacks, name) for name in HOOKS}
        self._steps = self._hooks["on_step_begin"], self._hooks["on_step_end"]
        self._current: Callback | None = None  # whose hook is running
        self._at: Cursor | None = None  # of the last step that was taken in this process
        self._of: OfFit | None = None

    # the moments of a fit, in their order

    def fit_begins(self, trainer: TrainingState) -> None:
        """Call `on_fit_begin`."""
        self._call("on_fit_begin", trainer)

    def step_begins(self, trainer: TrainingState) -> None:
        """Call what comes before a step, whose rates are set: of its phase and epoch where they begin, and its own."""
        cursor = trainer.cursor
        epoch = cursor.step // trainer.steps_per_epoch
        if cursor.phase != self.phase or epoch != self.epoch:
            self._begin_parts(trainer, cursor.phase, epoch)
        if self._steps[0]:
            self._run(self._steps[0], FitState(self._of or self._of_fit(trainer), trainer, cursor))

    def step_ends(self, trainer: TrainingState, cursor: Cursor) -> None:
        """Call `on_step_end`.

        Args:
            trainer: Its cursor is behind the step.
            cursor: Of the step.
        """
        self._at = cursor
        if self._steps[1]:
            self._run(self._steps[1], FitState(self._of or self._of_fit(trainer), trainer, cursor))

    def validation_begins(self, trainer: TrainingState) -> None:
        """Call `on_validation_begin`."""
        self._call("on_validation_begin", trainer)

    def validation_ends(self, trainer: TrainingState) -> None:
        """Call `on_validation_end`."""
        self._call("on_validation_end", trainer)

    def parts_end(self, trainer: TrainingState, *, training: bool = False) -> None:
        """Call the end of the epoch and of the phase, where the last step was the last of them.

        Args:
            trainer: Behind that step and its validation.
            training: Whether training ends, and they with it.
        """
        if self.epoch != NOT_BEGUN and (training or trainer.cursor.step // trainer.steps_per_epoch != self.epoch):
            self.epoch = NOT_BEGUN
            self._call("on_epoch_end", trainer)
        if self.phase != NOT_BEGUN and (training or trainer.cursor.phase != self.phase):
            self.phase = NOT_BEGUN
            self._call("on_phase_end", trainer)

    def fit_ends(self, trainer: TrainingState) -> None:
        """Call `on_fit_end`, with the scores of the state that is kept."""
        if self._hooks["on_fit_end"]:
            scores = trainer.record.history().kept_scores
            self._run(self._hooks["on_fit_end"], self._state(trainer, self._at or trainer.cursor, scores))

    # what a checkpoint keeps

    def content(self) -> dict[str, Any]:
        """Return what a checkpoint keeps of the callbacks.

        Raises:
            ConfigError: A callback remembers what JSON cannot hold.
        """
        states = [[kind_of(one), plain_state(one, "callback")] for one in self.callbacks]
        return {"stopped": self.stopped, "begun": [self.phase, self.epoch], "states": states}

    def restore(self, content: Mapping[str, Any]) -> list[str]:
        """Give the callbacks back what a checkpoint kept of them: the first of a class to the first, and so on.

        Returns:
            A line for each callback that the checkpoint knows nothing of.
        """
        self.stopped = str(content.get("stopped", ""))
        self.phase, self.epoch = content.get("begun", (NOT_BEGUN, NOT_BEGUN))
        states = [(str(kind), dict(state)) for kind, state in content.get("states", [])]
        notes = []
        for callback in self.callbacks:
            found = next((place for place, (kind, _) in enumerate(states) if kind == kind_of(callback)), None)
            if found is None:
                notes.append(f"the checkpoint has no state of the callback {kind_of(callback)}, which starts anew")
            else:
                callback.load_state_dict(states.pop(found)[1])
        return notes

    # parts of these

    def _begin_parts(self, trainer: TrainingState, phase: int, epoch: int) -> None:
        """Begin a phase and an epoch; one of another number that has begun ends, as in a run that is now longer."""
        if self.phase not in (NOT_BEGUN, phase):
            self.phase = NOT_BEGUN
            self._call("on_phase_end", trainer)
        if self.phase != phase:
            self.phase = phase
            self._call("on_phase_begin", trainer, trainer.cursor)
        if self.epoch != epoch:
            self.epoch = epoch
            self._call("on_epoch_begin", trainer, trainer.cursor)

    def _call(self, name: str, trainer: TrainingState, cursor: Cursor | None = None) -> None:
        """Call a hook; the cursor is that of the step at hand, by default of the last one."""
        if self._hooks[name]:
            self._run(self._hooks[name], self._state(trainer, cursor or self._at or trainer.cursor))

    def _run(self, hooks: Sequence[tuple[Callback, Hook]], state: FitState) -> None:
        for self._current, hook in hooks:
            hook(state)

    def _state(self, trainer: TrainingState, cursor: Cursor, scores: Mapping[str, float] | None = None) -> FitState:
        return FitState(self._of_fit(trainer), trainer, cursor, scores)

    def _of_fit(self, trainer: TrainingState) -> OfFit:
        if self._of is not None:
            return self._of
        run = trainer.run
        target, info = run.assembly.target, run.assembly.problem.info
        self._of = OfFit(
            metric=target.eval_metric,
            greater_is_better=metric_of(info, target).greater_is_better,
            plan=run.plan,
            model=trainer.model,
            steps_per_epoch=trainer.steps_per_epoch,
            resumed=run.resume is not None,
            stop=self._stop,
            log=lambda step, values: trainer.record.log(step, self._checked(values)),
            clock=trainer.record.clock,
        )
        return self._of

    def _stop(self, why: str) -> None:
        self.stopped = self.stopped or f"stopped by {kind_of(self._current)}: {why}"

    def _checked(self, values: Any) -> dict[str, float]:
        """Return what a callback logs, as numbers.

        Raises:
            ConfigError: See `FitState.log`.
        """
        who = f"The callback {kind_of(self._current)} logs"
        if not isinstance(values, Mapping):
            raise ConfigError(
                f'{who} {values!r}. state.log takes a dict of numbers by name: state.log({{"gap": 0.1}}).'
            )
        return {_own_name(name, who): _number(value, f"{who} {name!r}") for name, value in values.items()}


def _own_name(name: Any, who: str) -> str:
    if not isinstance(name, str) or not name.strip():
        raise ConfigError(f"{who} a number under {name!r}. A name is a text, such as 'gap' or 'norm/head'.")
    if name in OWN_NAMES or name.startswith(OWN_PREFIXES):
        raise ConfigError(
            f"{who} {name!r}, a name under which the fit itself logs, like {', '.join(OWN_NAMES)} and all that begin "
            f"with {', '.join(OWN_PREFIXES)}. Choose another one."
        )
    return name


def _number(value: Any, who: str) -> float:
    if not isinstance(value, Real) and getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        value = value.item()  # of numpy and torch
    if not isinstance(value, Real):
        raise ConfigError(f"{who} as {value!r}. Loggers take numbers: a float, or an array or tensor of one number.")
    return float(value)


def _overridden(callbacks: Sequence[Callback], name: str) -> list[tuple[Callback, Hook]]:
    """Return a hook of each callback that has one of its own."""
    own = [(one, getattr(one, name)) for one in callbacks]
    return [(one, hook) for one, hook in own if getattr(hook, "__func__", None) is not getattr(Callback, name)]
