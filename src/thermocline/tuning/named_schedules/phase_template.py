"""The phase that named schedules without a schedule of their own start from."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from thermocline.tuning.plan.decisions import Decisions
from thermocline.tuning.schedule.phases import Phase, rate_fields

#: What a named schedule returns.
Phases = tuple[Phase, ...]


def template(plan: Decisions, **changes: Any) -> Phase:
    """Return a phase with the schedule of a plan's first phase, and what it takes.

    Args:
        plan: The plan.
        changes: Fields of the phase.
    """
    return replace(Phase(), **rate_fields(plan.phases[0]), **changes)
