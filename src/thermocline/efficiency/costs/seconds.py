"""From three timed steps to the seconds of every phase: they are scaled by the relative costs that an estimate has."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from thermocline.efficiency.costs.estimate import Estimate, PhaseEstimate

if TYPE_CHECKING:
    from thermocline.tuning.plan.layer_plan import LayerPlan


@dataclass(frozen=True)
class StepTimes:
    """What was timed, in seconds.

    Attributes:
        phase: The number of the phase whose step was timed, without a cache.
        compute: Of a training step, without making its batch.
        load: Of making the batch of a step, as far as it is not made meanwhile.
        validation: Of one validation.
        validations: How many there are, that before the first step included.
        start: Of the start of the head.
        cost: What the timed step costs relative to full tuning, where the estimate is of another plan over the same
            layers; None: it is of the plan that was timed.
    """

    phase: int
    compute: float
    load: float
    validation: float
    validations: int
    start: float = 0.0
    cost: float | None = None


def with_seconds(estimate: Estimate, times: StepTimes, plan: LayerPlan, cached: Sequence[Collection[str]]) -> Estimate:
    """Return an estimate with the seconds of its phases and of the run.

    Args:
        estimate: Of the plan.
        times: What was timed.
        plan: The plan.
        cached: Per phase, the labels of the layers whose forward pass is skipped once their outputs are stored.
    """
    timed = estimate.phases[times.phase]
    relative = times.cost or timed.cost_uncached
    unit = times.compute / relative if relative else None
    phases: list[PhaseEstimate] = []
    before: frozenset[str] = frozenset()
    for phase, skipped in zip(estimate.phases, map(frozenset, cached), strict=True):
        filling = filling_steps(phase.steps or 0, plan.steps_per_epoch or 0, skipped, before)
        same = unit is None and len(estimate.phases) == 1
        seconds = times.compute * (phase.steps or 0) if same else _seconds(phase, unit, filling)
        if seconds is not None:
            seconds += times.load * (filling if skipped else phase.steps or 0)  # what is cached is not read again
        phases.append(replace(phase, seconds=seconds))
        before = skipped
    known = [one.seconds for one in phases if one.seconds is not None]
    other = times.validation * times.validations + times.start
    total = sum(known) + other if len(known) == len(phases) else None
    return replace(estimate, phases=tuple(phases), seconds=total, seconds_validating=other)


def filling_steps(steps: int, per_epoch: int, cached: frozenset[str], before: frozenset[str]) -> int:
    """Return the steps of a phase that fill its cache: an epoch, where the phase before did not cache as much."""
    return min(steps, per_epoch) if not cached <= before else 0


def _seconds(phase: PhaseEstimate, unit: float | None, filling: int) -> float | None:
    """Return what the steps of a phase take, their batches apart."""
    if unit is None or phase.steps is None or phase.cost is None or phase.cost_uncached is None:
        return None
    return unit * (filling * phase.cost_uncached + (phase.steps - filling) * phase.cost)
