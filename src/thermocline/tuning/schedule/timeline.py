"""A plan's phases on the clock: which phase a step lies in, who trains in it, and at what multiple of the base rate."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

from thermocline.errors import ConfigError
from thermocline.tuning.schedule import curves as schedule
from thermocline.tuning.schedule.phase_layers import drawn, layer_scales, trained_layers
from thermocline.tuning.schedule.phases import Cursor, Phase

if TYPE_CHECKING:
    from thermocline.tuning.plan.layer_plan import LayerPlan

_EPSILON = 1e-9  # of a step: 0.7 of 10 steps are 7 although 0.7 * 10 > 7


@dataclass(frozen=True)
class Entry:
    """What is to be done before the first step of a phase (or of a draw).

    Attributes:
        reset: Labels of layers whose optimizer state is to be dropped.
        restore_best: Whether the best weights so far are to be put back.
    """

    reset: tuple[str, ...] = ()
    restore_best: bool = False


@dataclass(frozen=True)
class Stretch:
    """Steps in which the same layers train: a phase, or one draw of it.

    Attributes:
        start: Its first step.
        number: 0, or the draw's number within its phase.
        trains: The labels of the layers that train.
        thawed: Those of them that did not train before.
    """

    start: int
    number: int
    trains: frozenset[str]
    thawed: frozenset[str]


class Timeline:
    """The phases of one plan, their selectors resolved. All methods are pure functions of a cursor.

    Args:
        plan: The plan.

    Raises:
        SelectorError: A selector of a phase matches nothing.
        ConfigError: Two numbers for one layer, or ends out of order.
    """

    def __init__(self, plan: LayerPlan) -> None:
        self.phases = plan.phases
        self.always, self.pools = trained_layers(plan)
        self.scales = layer_scales(plan)
        self._sets = lru_cache(maxsize=256)(self._trained_and_thawed)
        check_order(self.phases)

    @cached_property
    def ever(self) -> frozenset[str]:
        """The labels of the layers that may train at some time."""
        return frozenset().union(*self.always, *self.pools)

    # the clock

    def start(self, total_steps: int, steps_per_epoch: int = 0) -> Cursor:
        """Return the cursor of the first step."""
        return self._settled(Cursor(0, total_steps, steps_per_epoch=steps_per_epoch))

    def cursor(self, step: int, total_steps: int, steps_per_epoch: int = 0) -> Cursor:
        """Return the cursor of a step (0-based) if no plateau ends a phase before its time."""
        return self._settled(Cursor(step, total_steps, steps_per_epoch=steps_per_epoch))

    def next(self, cursor: Cursor) -> Cursor:
        """Return the cursor after one more optimizer step."""
        values = (cursor.phase, cursor.phase_start, cursor.steps_per_epoch, cursor.best, cursor.worse)
        return self._settled(Cursor(cursor.step + 1, cursor.total_steps, *values))

    def observe(self, cursor: Cursor, score: float) -> Cursor:
        """Return the cursor after a validation; it may end a phase that waits for a plateau.

        Args:
            cursor: After the last step before the validation.
            score: Higher is better; NaN is never better.
        """
        plateau = self.phases[cursor.phase].plateau
        if plateau is None or cursor.phase == len(self.phases) - 1:
            return cursor
        if math.isfinite(score) and (cursor.best is None or score > cursor.best + plateau.min_delta):
            return replace(cursor, best=float(score), worse=0)
        if cursor.worse + 1 < plateau.patience:
            return replace(cursor, worse=cursor.worse + 1)
        ended = replace(cursor, phase=cursor.phase + 1, phase_start=cursor.step, best=None, worse=0)
        return self._settled(ended)

    def _settled(self, cursor: Cursor) -> Cursor:
        """Cross the edges that lie at or before the cursor's step."""
        phase, start = cursor.phase, cursor.phase_start
        while phase < len(self.phases) - 1:
            end = planned_end(self.phases[phase], start, cursor.total_steps, cursor.steps_per_epoch)
            if cursor.step < end or end >= cursor.total_steps:
                break
            phase, start = phase + 1, end
        if phase == cursor.phase:
            return cursor
        return replace(cursor, phase=phase, phase_start=start, best=None, worse=0)

    # what is true at a moment

    def stretch(self, cursor: Cursor) -> Stretch:
        """Return the stretch that a cursor lies in."""
        draw = self.phases[cursor.phase].draw
        number = 0 if draw is None else (cursor.step - cursor.phase_start) // draw.every
        start = cursor.phase_start + (0 if draw is None else number * draw.every)
        return Stretch(start, number, *self._sets(cursor.phase, number))

    def trains(self, cursor: Cursor) -> frozenset[str]:
        """Return the labels of the layers that train."""
        return self.stretch(cursor).trains

    def span(self, cursor: Cursor) -> tuple[int, int]:
        """Return the first step of the schedule in force, and its length."""
        if self.phases[cursor.phase].over == "run":
            return 0, cursor.total_steps
        end = planned_end(self.phases[cursor.phase], cursor.phase_start, cursor.total_steps, cursor.steps_per_epoch)
        return cursor.phase_start, end - cursor.phase_start

    def factor(self, cursor: Cursor) -> float:
        """Return the schedule's multiple, the same for all layers."""
        start, steps = self.span(cursor)
        return self.phases[cursor.phase].factor(cursor.step - start, steps)

    def momentum(self, cursor: Cursor) -> float | None:
        """Return the optimizer's momentum; None where the phase leaves it alone."""
        start, steps = self.span(cursor)
        return self.phases[cursor.phase].momentum_factor(cursor.step - start, steps)

    def thaw_steps(self, cursor: Cursor) -> int:
        """Return the number of steps over which thawed layers warm up."""
        phase = self.phases[cursor.phase]
        if isinstance(phase.thaw_warmup, float) and phase.draw is not None:
            return schedule.length(phase.thaw_warmup, phase.draw.every)
        end = planned_end(phase, cursor.phase_start, cursor.total_steps, cursor.steps_per_epoch)
        return schedule.length(phase.thaw_warmup, end - cursor.phase_start)

    def multiple(self, label: str, cursor: Cursor) -> float:
        """Return what a layer's rate is of the plan's base rate; 0 where it does not train."""
        now = self.stretch(cursor)
        if label not in now.trains:
            return 0.0
        value = self.scales[cursor.phase][label] * self.factor(cursor)
        if label in now.thawed:
            value *= schedule.rising(cursor.step - now.start, self.thaw_steps(cursor))
        return value

    def entry(self, cursor: Cursor) -> Entry | None:
        """Return what is to be done before this step, or None; only the first step of a stretch has something."""
        phase = self.phases[cursor.phase]
        if phase.optimizer_state == "keep" and not phase.restore_best:
            return None
        now = self.stretch(cursor)
        if cursor.step != now.start or (cursor.phase == 0 and now.number == 0):
            return None
        reset = tuple(sorted(now.thawed)) if phase.optimizer_state == "reset" else ()
        best = phase.restore_best and now.number == 0
        return Entry(reset, best) if reset or best else None

    def _trained_and_thawed(self, phase: int, number: int) -> tuple[frozenset[str], frozenset[str]]:
        now = self._at(phase, number)
        if number:
            return now, now - self._at(phase, number - 1)
        return now, (now - self.always[phase - 1] if phase else frozenset())

    def _at(self, phase: int, number: int) -> frozenset[str]:
        draw = self.phases[phase].draw
        if draw is None:
            return self.always[phase]
        return self.always[phase] | drawn(draw, self.pools[phase], number)


def planned_end(phase: Phase, start: int, total_steps: int, steps_per_epoch: int) -> int:
    """Return the step after a phase's last, if no plateau ends it sooner.

    Args:
        phase: The phase.
        start: Its first step.
        total_steps: Of the run.
        steps_per_epoch: Needed where the phase ends by epochs.

    Raises:
        ConfigError: It is needed and not known.
    """
    end = total_steps
    if phase.steps is not None:
        end = min(end, start + phase.steps)
    if phase.epochs is not None:
        if steps_per_epoch < 1:
            raise ConfigError(
                f"Phase {phase.name!r} ends after {phase.epochs:g} epochs, so a cursor needs steps_per_epoch: "
                "plan.start(total_steps, steps_per_epoch=…)."
            )
        end = min(end, start + max(1, round(phase.epochs * steps_per_epoch)))
    if phase.fraction is not None:
        end = min(end, max(start, math.ceil(phase.fraction * total_steps - _EPSILON)))
    return end


def check_order(phases: tuple[Phase, ...]) -> None:
    """Raise unless fractions of the run grow from phase to phase.

    Raises:
        ConfigError: They do not.
    """
    before = ("", 0.0)
    for phase in phases:
        if phase.fraction is None:
            continue
        if phase.fraction <= before[1]:
            raise ConfigError(
                f"Phase {phase.name!r} ends at fraction {phase.fraction:g} of the run"
                + (f", and {before[0]!r} before it at {before[1]:g}" if before[0] else "")
                + ": fractions count from the beginning of the run, so they grow from phase to phase."
            )
        before = (phase.name, phase.fraction)
