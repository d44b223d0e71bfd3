"""Which phase a step lies in, which layers train then, and at what multiple of the base rate."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from thermocline.tuning.layers.layer_map import LayerMap
from thermocline.tuning.schedule import curves
from thermocline.tuning.schedule.cursor import Cursor
from thermocline.tuning.schedule.phase_ends import check_order, planned_end
from thermocline.tuning.schedule.phase_layers import PhaseLayers, drawn, phase_layers
from thermocline.tuning.schedule.phases import Phase

_MOST_STRETCHES = 256  # that are remembered


@dataclass(frozen=True)
class Entry:
    """What is to be done before the first step of a phase (or of a draw).

    Attributes:
        reset: Labels of layers whose optimizer state is to be dropped.
        restore_best: Whether the best weights so far are to be restored.
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
        unfrozen: Those of them that did not train before.
    """

    start: int
    number: int
    trains: frozenset[str]
    unfrozen: frozenset[str]

    def __repr__(self) -> str:  # sets have no order of their own
        sets = f"trains={sorted(self.trains)}, unfrozen={sorted(self.unfrozen)}"
        return f"Stretch(start={self.start}, number={self.number}, {sets})"


@dataclass(frozen=True)
class Timeline:
    """The phases of one plan, their selectors resolved. All methods are pure functions of a cursor.

    Attributes:
        phases: In order.
        layers: The layers of each phase.
    """

    phases: tuple[Phase, ...]
    layers: tuple[PhaseLayers, ...]
    _sets: dict[tuple[int, int], tuple[frozenset[str], frozenset[str]]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    _short: dict[tuple[int, float], tuple[Phase, ...]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        check_order(self.phases)

    @classmethod
    def of(
        cls, phases: tuple[Phase, ...], layer_map: LayerMap, scales: Mapping[str, float], pinned: frozenset[str]
    ) -> Timeline:
        """Resolve the selectors of phases.

        Args:
            phases: In order.
            layer_map: The layers that they are about.
            scales: The plan's own scale of each layer, by label.
            pinned: The labels of the layers that are frozen throughout.

        Raises:
            SelectorError: A selector of a phase matches nothing.
            ConfigError: Two numbers for one layer, or ends out of order.
        """
        return cls(phases, tuple(phase_layers(phase, layer_map, scales, pinned) for phase in phases))

    def __getstate__(self) -> dict[str, Any]:
        return {
            "phases": self.phases,
            "layers": self.layers,
            "_sets": {},
            "_short": {},
        }  # what is derived is not stored

    @property
    def always(self) -> tuple[frozenset[str], ...]:
        """Per phase, the labels of the layers that train throughout it."""
        return tuple(own.always for own in self.layers)

    @property
    def pools(self) -> tuple[tuple[str, ...], ...]:
        """Per phase, the labels of the layers that are drawn from."""
        return tuple(own.pool for own in self.layers)

    @cached_property
    def ever(self) -> frozenset[str]:
        """The labels of the layers that may train at some time."""
        return frozenset().union(*(own.always.union(own.pool) for own in self.layers))

    # which phase

    def cursor(self, step: int, total_steps: int, steps_per_epoch: int = 0) -> Cursor:
        """Return the cursor of a step (0-based) if no plateau ends a phase before its time."""
        return self._in_phase(Cursor(step, total_steps, steps_per_epoch=steps_per_epoch))

    def next(self, cursor: Cursor) -> Cursor:
        """Return the cursor after one more optimizer step."""
        return self._in_phase(replace(cursor, step=cursor.step + 1))

    def shortened(self, cursor: Cursor, total_steps: int, share: float) -> Cursor:
        """Return the cursor in a run of another length; a phase that would have ended before ends now.

        Args:
            cursor: Of a step of the run.
            total_steps: Of the whole run, at least those done.
            share: Of the planned steps; see `Cursor.share`.
        """
        now = replace(cursor, total_steps=total_steps, share=share)
        if self._in_phase(now).phase == now.phase:
            return now
        return replace(now, phase=now.phase + 1, phase_start=now.step, best=None, worse=0)

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
        return self._in_phase(ended)

    def _phase(self, cursor: Cursor, number: int | None = None) -> Phase:
        """A phase, the cursor's where no other is named, as long as the run makes it; with one of its schedules."""
        return self._courses(cursor, cursor.phase if number is None else number)[0]

    def _courses(self, cursor: Cursor, number: int) -> tuple[Phase, ...]:
        """A phase once for each of its schedules, as long as the run makes it."""
        courses = self.layers[number].courses
        if cursor.share == 1:
            return courses
        known = self._short.get((number, cursor.share))
        if known is None:
            if len(self._short) >= _MOST_STRETCHES:
                self._short.clear()
            known = tuple(course.shortened(cursor.share) for course in courses)
            self._short[number, cursor.share] = known
        return known

    def _in_phase(self, cursor: Cursor) -> Cursor:
        """The cursor in the phase that its step lies in: phases that end at or before the step are over."""
        phase, start = cursor.phase, cursor.phase_start
        while phase < len(self.phases) - 1:
            end = planned_end(self._phase(cursor, phase), start, cursor.total_steps, cursor.steps_per_epoch)
            if cursor.step < end or end >= cursor.total_steps:
                break
            phase, start = phase + 1, end
        if phase == cursor.phase:
            return cursor
        return replace(cursor, phase=phase, phase_start=start, best=None, worse=0)

    # which layers

    def stretch_index(self, cursor: Cursor) -> tuple[int, int]:
        """Return what identifies a cursor's stretch: the phase and, where it draws layers, the draw's number, else 0.

        While it stays the same, the same layers train.
        """
        draw = self.phases[cursor.phase].draw
        return cursor.phase, 0 if draw is None else (cursor.step - cursor.phase_start) // draw.every

    def stretch_start(self, cursor: Cursor) -> int:
        """Return the first step of a cursor's stretch."""
        phase, number = self.stretch_index(cursor)
        draw = self.phases[phase].draw
        return cursor.phase_start + (0 if draw is None else number * draw.every)

    def stretch_end(self, cursor: Cursor) -> int:
        """Return the step after the last of a cursor's stretch, if no plateau ends it sooner.

        Raises:
            ConfigError: The phase ends by epochs, and the cursor has no `steps_per_epoch`.
        """
        draw = self.phases[cursor.phase].draw
        end = self.phase_end(cursor)
        return end if draw is None else min(end, self.stretch_start(cursor) + draw.every)

    def phase_end(self, cursor: Cursor) -> int:
        """Return the step after the last of a cursor's phase, if no plateau ends it sooner.

        Raises:
            ConfigError: The phase ends by epochs, and the cursor has no `steps_per_epoch`.
        """
        phase = self._phase(cursor)
        return planned_end(phase, cursor.phase_start, cursor.total_steps, cursor.steps_per_epoch)

    def stretch(self, cursor: Cursor) -> Stretch:
        """Return the stretch that a cursor lies in."""
        phase, number = self.stretch_index(cursor)
        return Stretch(self.stretch_start(cursor), number, *self._trained_and_unfrozen(phase, number))

    def trains(self, cursor: Cursor) -> frozenset[str]:
        """Return the labels of the layers that train."""
        return self._trained_and_unfrozen(*self.stretch_index(cursor))[0]

    def entry(self, cursor: Cursor) -> Entry | None:
        """Return what is to be done before this step, or None; only the first step of a stretch has something."""
        phase = self.phases[cursor.phase]
        if phase.optimizer_state == "keep" and not phase.restore_best:
            return None
        now = self.stretch(cursor)
        if cursor.step != now.start or (cursor.phase == 0 and now.number == 0):
            return None
        reset = tuple(sorted(now.unfrozen)) if phase.optimizer_state == "reset" else ()
        best = phase.restore_best and now.number == 0
        return Entry(reset, best) if reset or best else None

    def _trained_and_unfrozen(self, phase: int, number: int) -> tuple[frozenset[str], frozenset[str]]:
        """The layers that train in a stretch, and those of them that did not train in the one before."""
        known = self._sets.get((phase, number))
        if known is None:
            now = self._trained(phase, number)
            before = self._trained(phase, number - 1) if number else self.layers[phase - 1].always if phase else now
            if len(self._sets) >= _MOST_STRETCHES:
                self._sets.clear()
            known = self._sets[phase, number] = (now, now - before)
        return known

    def _trained(self, phase: int, number: int) -> frozenset[str]:
        draw, own = self.phases[phase].draw, self.layers[phase]
        return own.always if draw is None else own.always | drawn(draw, own.pool, number)

    # which rates

    def factors(self, cursor: Cursor) -> tuple[float, ...]:
        """Return the multiple of each schedule of the phase; `course` says which is a layer's."""
        start, steps = self._span(cursor)
        return tuple(one.factor(cursor.step - start, steps) for one in self._courses(cursor, cursor.phase))

    def factor(self, cursor: Cursor, label: str | None = None) -> float:
        """Return the schedule's multiple: of a layer, or the highest of all."""
        factors = self.factors(cursor)
        return max(factors) if label is None else factors[self.course(cursor, label)]

    def course(self, cursor: Cursor, label: str) -> int:
        """Return the index of a layer's schedule among those of the phase."""
        return self.layers[cursor.phase].course.get(label, 0)

    def momenta(self, cursor: Cursor) -> tuple[float | None, ...]:
        """Return the optimizer's momentum under each schedule of the phase; None where that does not change it."""
        start, steps = self._span(cursor)
        return tuple(one.momentum_factor(cursor.step - start, steps) for one in self.layers[cursor.phase].courses)

    def momentum(self, cursor: Cursor, label: str | None = None) -> float | None:
        """Return the optimizer's momentum: of a layer, or of the first schedule that changes it; None for no change."""
        momenta = self.momenta(cursor)
        if label is not None:
            return momenta[self.course(cursor, label)]
        return next((one for one in momenta if one is not None), None)

    def multiple(self, label: str, cursor: Cursor) -> float:
        """Return what a layer's rate is of the plan's base rate; 0 where it does not train."""
        now = self.stretch(cursor)
        if label not in now.trains:
            return 0.0
        value = self.layers[cursor.phase].scales[label] * self.factor(cursor, label)
        if label in now.unfrozen:
            value *= curves.rising(cursor.step - now.start, self.unfreeze_warmup(cursor))
        return value

    def unfreeze_warmup(self, cursor: Cursor) -> int:
        """Return the number of steps over which the rate of newly unfrozen layers rises."""
        phase = self._phase(cursor)
        if isinstance(phase.thaw_warmup, float) and phase.draw is not None:
            return curves.length(phase.thaw_warmup, phase.draw.every)
        return curves.length(phase.thaw_warmup, self.phase_end(cursor) - cursor.phase_start)

    def _span(self, cursor: Cursor) -> tuple[int, int]:
        """The first step of the schedule in force, and its length."""
        if self.phases[cursor.phase].over == "run":
            return 0, cursor.total_steps
        return cursor.phase_start, self.phase_end(cursor) - cursor.phase_start
