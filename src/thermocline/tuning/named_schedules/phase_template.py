"""The phase that named schedules without a schedule of their own start from."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from thermocline.tuning.plan.decisions import Decisions
from thermocline.tuning.schedule.phases import Phase

#: What a named schedule returns.
Phases = tuple[Phase, ...]


def template(plan: Decisions, **changes: Any) -> Phase:
    """Return a phase with the schedule of a plan's first phase.

    Args:
        plan: The plan.
        changes: Fields of the phase.
    """
    first = plan.phases[0]
    return replace(Phase(schedule=first.schedule, warmup=first.warmup, final=first.final), **changes)
