"""Callbacks: code of the caller's own that a fit calls at moments of training."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class FitState:
    """What a callback sees of a fit. It is read-only, and of the moment at which the hook is called.

    Attributes:
        step: Optimizer steps taken; 0 before the first.
        total_steps: Optimizer steps that the fit takes unless it ends early.
        epoch: Passes over the training rows, as a fraction.
        train_loss: Mean loss of the steps since the validation before; NaN before the first step.
        lr: Base learning rate of the last step; 0 before the first.
        metric: The name of the metric that decides.
        greater_is_better: Whether more of it is better.
        scores: Metric → score of the last validation, in each metric's own direction; empty before the first one. At
            the end of a fit those of the state that is kept.
        best_step: The step of the best state so far; None before the first validation.
        seconds: Seconds that the fit has taken, in all its processes.
    """

    step: int
    total_steps: int
    epoch: float
    train_loss: float
    lr: float
    metric: str
    greater_is_better: bool
    scores: Mapping[str, float]
    best_step: int | None
    seconds: float
    _stop: Callable[[str], None] = field(repr=False, compare=False)

    @property
    def score(self) -> float:
        """The last score of `metric`; NaN where there is none, or where it is not defined on the validation rows."""
        return self.scores.get(self.metric, math.nan)

    def stop(self, why: str) -> None:
        """Let training end before the next step, as early stopping does: the best state so far is kept.

        Args:
            why: The reason, for the history.
        """
        self._stop(why)


class Callback:
    """Code that a fit calls at moments of training: `fit(callbacks=[…])`. Override the hooks that are needed.

    Hooks of several callbacks are called in the order of the list. They run in the thread that trains. What they draw
    from torch's random numbers changes no step. An exception that a hook raises ends the fit and is raised by it;
    checkpoints stay.

    A callback that remembers something returns it from `state_dict`, so that a fit that is stopped and resumed ends as
    one that was not.

    Example:
        >>> class GoodEnough(Callback):
        ...     def on_validation_end(self, state):
        ...         if state.score > 0.95:
        ...             state.stop("good enough")
        >>> predictor.fit(train, callbacks=[GoodEnough()])
    """

    def on_fit_begin(self, state: FitState) -> None:
        """Called before anything is computed; in a resumed fit after `load_state_dict`, where it goes on."""

    def on_validation_end(self, state: FitState) -> None:
        """Called after each validation of the training, that of step 0 included."""

    def on_fit_end(self, state: FitState) -> None:
        """Called when the state that is kept was chosen, also after Ctrl-C; not where the fit ends by an error."""

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed fit needs to go on, as JSON takes it; it is written with each checkpoint."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned when the checkpoint was written."""
