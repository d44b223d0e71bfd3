"""Callbacks: code of the caller's own that a fit calls at moments of training."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from torch import nn

    from thermocline.tuning.plan.layer_plan import LayerPlan
    from thermocline.tuning.schedule.cursor import Cursor


class Training(Protocol):
    """What of a trainer a state is of; see `trainer.Trainer` for each attribute."""

    cursor: Cursor
    lr: float

    @property
    def results(self) -> Any:
        """The losses of steps."""

    @property
    def best(self) -> Any:
        """The best states so far."""

    @property
    def record(self) -> Any:
        """The history, and the clock."""


@dataclass(frozen=True)
class OfFit:
    """What stays the same for all states of a fit; see `FitState` for each attribute."""

    metric: str
    greater_is_better: bool
    plan: LayerPlan
    model: nn.Module
    steps_per_epoch: int
    resumed: bool
    stop: Callable[[str], None]
    log: Callable[[int, Mapping[str, Any]], None]
    clock: Callable[[], float]


class FitState:
    """What a callback sees of a fit: read-only, and of the moment at which the hook is called.

    One state is made for all callbacks of a moment. Attributes that take time, such as `rates`, are computed when they
    are read.

    Example:
        >>> seen = []
        >>> class Watching(Callback):
        ...     def on_validation_end(self, state):
        ...         seen.append((state.step, state.phase, sorted(state.scores)))
        ...         state.log({"half": state.step / 2})
        >>> predictor = Predictor("verdict", verbosity=0)
        >>> _ = predictor.fit(train[["price", "verdict"]], hyperparameters=tiny, callbacks=[Watching()])
        >>> seen[-1]
        (3, 'train', ['roc_auc'])
    """

    __slots__ = ("_at", "_best", "_cursor", "_kept", "_known", "_loss", "_lr", "_now", "_of", "_rows")

    def __init__(
        self, of: OfFit, training: Training, cursor: Cursor, kept_scores: Mapping[str, float] | None = None
    ) -> None:
        record = training.record
        self._of, self._now, self._cursor, self._kept = of, training.cursor, cursor, kept_scores
        self._loss, self._lr, self._best = training.results.last, training.lr, training.best.best
        self._rows, self._known = record.rows, len(record.rows)
        self._at = monotonic()

    @property
    def step(self) -> int:
        """Optimizer steps taken; 0 before the first. The step that begins in `on_step_begin` is not counted."""
        return self._now.step

    @property
    def total_steps(self) -> int:
        """Optimizer steps that the fit takes unless it ends early; a time limit may change it."""
        return self._now.total_steps

    @property
    def epoch(self) -> float:
        """Passes over the training rows, as a fraction."""
        return self._now.step / self._of.steps_per_epoch

    @property
    def epoch_index(self) -> int:
        """The epoch that the step at hand is of, from 0: also in `on_epoch_end`, where `epoch` is one more."""
        return self._cursor.step // self._of.steps_per_epoch

    @property
    def phase(self) -> str:
        """The name of the phase that the step at hand is of."""
        return self._of.plan.phases[self._cursor.phase].name

    @property
    def phase_index(self) -> int:
        """The number of that phase in the plan, from 0."""
        return self._cursor.phase

    @property
    def loss(self) -> float:
        """The loss of the last step; NaN before the first. A GPU is waited for where it is read."""
        return float(self._loss)

    @property
    def train_loss(self) -> float:
        """Mean loss of the steps between the last two validations, as in the history; NaN before the first step."""
        loss: float = self._last_scored.get("train_loss", math.nan)
        return loss

    @property
    def lr(self) -> float:
        """Base learning rate of the step at hand, or of the last one; 0 before the first."""
        return self._lr

    @property
    def rates(self) -> dict[str, float]:
        """Layer → learning rate of the step at hand, or of the last one; 0 where it is frozen."""
        plan, cursor = self._of.plan, self._cursor
        return {label: plan.lr_at(label, cursor) for label in plan.labels}

    @property
    def frozen_layers(self) -> tuple[str, ...]:
        """The layers that do not train in the step at hand, or did not in the last one, in the plan's order."""
        plan = self._of.plan
        trains = plan.timeline.trains(self._cursor)
        return tuple(label for label in plan.labels if label not in trains)

    @property
    def metric(self) -> str:
        """The name of the metric that decides."""
        return self._of.metric

    @property
    def greater_is_better(self) -> bool:
        """Whether more of it is better."""
        return self._of.greater_is_better

    @property
    def scores(self) -> Mapping[str, float]:
        """Metric → score of the last validation, in each metric's own direction; empty before the first one.

        At the end of a fit those of the state that is kept.
        """
        if self._kept is not None:
            return self._kept
        row = self._last_scored
        return {name.removeprefix("val_"): one for name, one in row.items() if name.startswith("val_")}

    @property
    def score(self) -> float:
        """The last score of `metric`; NaN where there is none, or where it is not defined on the validation rows."""
        return self.scores.get(self.metric, math.nan)

    @property
    def best_step(self) -> int | None:
        """The step of the best state so far; None before the first validation."""
        step: int | None = None if self._best is None else self._best.step
        return step

    @property
    def seconds(self) -> float:
        """Seconds that the fit has taken, in all its processes."""
        return self._of.clock() - (monotonic() - self._at)

    @property
    def resumed(self) -> bool:
        """Whether this process went on from a checkpoint."""
        return self._of.resumed

    @property
    def plan(self) -> LayerPlan:
        """The plan that the fit follows."""
        return self._of.plan

    @property
    def model(self) -> nn.Module:
        """The module that is trained, as it is when this is read: to look at.

        What a callback changes in it changes the fit, and only weights come back when it is resumed.
        """
        return self._of.model

    def stop(self, why: str) -> None:
        """Let training end before the next step, as early stopping does: the best state so far is kept.

        In a hook that is called in front of a step (`on_phase_begin`, `on_epoch_begin`, `on_step_begin`) that step is
        still taken.

        Args:
            why: The reason, for the history.

        Example:
            >>> class Enough(Callback):
            ...     def on_step_end(self, state):
            ...         if state.step == 2:
            ...             state.stop("two steps are enough")
            >>> predictor = Predictor("verdict", verbosity=0)
            >>> predictor = predictor.fit(train[["price", "verdict"]], hyperparameters=tiny, callbacks=[Enough()])
            >>> predictor.history["step"].tolist()[-1]
            2
        """
        self._of.stop(why)

    def log(self, values: Mapping[str, Any]) -> None:
        """Hand numbers to all loggers of the fit, at `step`; without loggers nothing happens.

        Args:
            values: Name → number. Numbers that are not finite are not logged, as elsewhere.

        Raises:
            ConfigError: A name that is no text or that the fit itself logs, or a value that is no number.

        Example:
            >>> class Gap(Callback):
            ...     def on_validation_end(self, state):
            ...         state.log({"gap": state.train_loss - state.scores["log_loss"]})
            >>> predictor = Predictor("verdict", eval_metric="log_loss", verbosity=0)
            >>> how = {"callbacks": [Gap()], "loggers": [CSV("metrics.csv")]}
            >>> _ = predictor.fit(train[["price", "verdict"]], hyperparameters=tiny, **how)
            >>> "gap" in set(pd.read_csv("metrics.csv")["name"])
            True
        """
        self._of.log(self._now.step, values)

    @property
    def _last_scored(self) -> Mapping[str, Any]:
        rows, known = self._rows, self._known
        places = range(known - 1, -1, -1)
        return next((rows[place] for place in places if any(name.startswith("val_") for name in rows[place])), {})

    def __repr__(self) -> str:
        of = f"step {self.step} of {self.total_steps}, epoch {self.epoch:.2f}, phase {self.phase!r}"
        return f"FitState({of}, loss={self.loss:.4g}, {self.metric}={self.score:.4g})"


class Callback:
    """Code that a fit calls at moments of training: `fit(callbacks=[…])`. Override the hooks that are needed.

    The order of a fit, where `*` is repeated:

        on_fit_begin
        on_validation_begin, on_validation_end                  of step 0
        * [on_phase_begin] [on_epoch_begin]                     in front of the first step of a phase, of an epoch
          on_step_begin, on_step_end
          [on_validation_begin, on_validation_end]              where one is due
          [on_epoch_end] [on_phase_end]                         after the last step of an epoch, of a phase
          (a checkpoint, where one is due)
        on_fit_end

    Phases may begin and end within an epoch. Where training ends in the middle of an epoch or a phase (`stop`, early
    stopping, the time limit, Ctrl-C) its end is called then, after the last validation. A hook that is not overridden
    costs nothing.

    A resumed fit begins with `load_state_dict` and `on_fit_begin` and goes on where the checkpoint was written: what
    was called before it is not called again, so that an epoch or a phase that had begun is not begun again.

    Hooks of several callbacks are called in the order of the list. They run in the thread that trains. What they draw
    from torch's random numbers changes no step. An exception that a hook raises ends the fit and is raised by it;
    checkpoints stay. The steps of `optim.refit`, which follow the choice of the state that is kept, call no hooks.

    A callback that remembers something returns it from `state_dict`, so that a fit that is stopped and resumed ends as
    one that was not.

    Example:
        >>> class GoodEnough(Callback):
        ...     def on_validation_end(self, state):
        ...         if state.score > 0.95:
        ...             state.stop("good enough")
        >>> small, predictor = train[["price", "verdict"]], Predictor("verdict", verbosity=0)
        >>> predictor.fit(small, hyperparameters=tiny, callbacks=[GoodEnough()])
        Predictor(label='verdict': binary, table, 3 layers)
    """

    def __repr__(self) -> str:
        hooks = [name for name in HOOKS if getattr(type(self), name) is not getattr(Callback, name)]
        return f"<{type(self).__name__}: {', '.join(hooks) or 'no hooks'}>"

    def on_fit_begin(self, state: FitState) -> None:
        """Called before anything is computed; in a resumed fit after `load_state_dict`, where it goes on."""

    def on_phase_begin(self, state: FitState) -> None:
        """Called before the first step of a phase, once its layers are frozen and its rates are set."""

    def on_epoch_begin(self, state: FitState) -> None:
        """Called before the first step of a pass over the training rows."""

    def on_step_begin(self, state: FitState) -> None:
        """Called before each optimizer step, once its rates are set."""

    def on_step_end(self, state: FitState) -> None:
        """Called after each optimizer step; `state.loss` is NaN or infinite where the step was skipped for it."""

    def on_validation_begin(self, state: FitState) -> None:
        """Called before each validation of the training, that of step 0 included."""

    def on_validation_end(self, state: FitState) -> None:
        """Called after each validation of the training, that of step 0 included."""

    def on_epoch_end(self, state: FitState) -> None:
        """Called after the last step of an epoch, and after the validation that is due then."""

    def on_phase_end(self, state: FitState) -> None:
        """Called after the last step of a phase, and after the validation that is due then or that ended it."""

    def on_fit_end(self, state: FitState) -> None:
        """Called when the state that is kept was chosen, also after Ctrl-C; not where the fit ends by an error."""

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed fit needs to go on, as JSON takes it; it is written with each checkpoint."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned when the checkpoint was written."""


HOOKS = tuple(name for name in vars(Callback) if name.startswith("on_"))
"""The names of all hooks."""
