"""Where phases end, and whether their ends are in order."""

from __future__ import annotations

import math

from thermocline.errors import ConfigError
from thermocline.tuning.schedule.phases import Phase

_EPSILON = 1e-9  # of a step: 0.7 of 10 steps are 7 although 0.7 * 10 > 7


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
                f"Phase {phase.name!r} ends after {phase.epochs:g} epoch{'s' * (phase.epochs != 1)}, so a "
                "cursor needs steps_per_epoch: "
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
