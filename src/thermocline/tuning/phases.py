"""When: phases of a plan, the cursor that stands for a moment, and the schedule as a pure function."""

from __future__ import annotations

import math
from dataclasses import dataclass

from thermocline.errors import ConfigError, did_you_mean, listing

SCHEDULES = ("cosine", "linear", "constant")


@dataclass(frozen=True)
class Cursor:
    """A moment: the optimizer step to be taken (0-based), of how many, and in which phase."""

    step: int
    total_steps: int
    phase: int = 0


@dataclass(frozen=True)
class Phase:
    """A stretch of training.

    Attributes:
        name: Shown in tables.
        trains: `"*"`, or the labels of the layers that train.
        schedule: One of `SCHEDULES`.
        warmup: The fraction of the phase over which the rate rises linearly.
        until: The fraction of the whole run at which the phase ends.
        final: The multiple of the rate at which it ends (not used by `constant`).
    """

    name: str = "train"
    trains: str | tuple[str, ...] = "*"
    schedule: str = "cosine"
    warmup: float = 0.1
    until: float = 1.0
    final: float = 0.0

    def __post_init__(self) -> None:
        if self.schedule not in SCHEDULES:
            raise ConfigError(
                f"Unknown schedule {self.schedule!r}; choices are {listing(SCHEDULES)}."
                f"{did_you_mean(self.schedule, SCHEDULES)}"
            )
        _fraction("warmup", self.warmup, below_one=True)
        _fraction("until", self.until)
        _fraction("final", self.final)

    def trains_layer(self, label: str) -> bool:
        """Whether a layer trains in this phase, pinned freezing aside."""
        return self.trains == "*" or (not isinstance(self.trains, str) and label in self.trains)

    def factor(self, step: int, steps: int) -> float:
        """Return the multiple of the rate at a step of the phase.

        Args:
            step: 0-based, within the phase; clamped into it.
            steps: The length of the phase.
        """
        steps = max(steps, 1)
        step = min(max(step, 0), steps - 1)
        warmup = round(self.warmup * steps)
        if step < warmup:
            return (step + 1) / (warmup + 1)
        if self.schedule == "constant":
            return 1.0
        progress = (step - warmup) / max(steps - warmup, 1)
        shape = 1.0 - progress if self.schedule == "linear" else 0.5 * (1.0 + math.cos(math.pi * progress))
        return self.final + (1.0 - self.final) * shape


def _fraction(name: str, value: object, *, below_one: bool = False) -> None:
    good = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 1
    if not good or (below_one and value == 1):
        bound = "from 0 up to but not including 1" if below_one else "from 0 to 1"
        raise ConfigError(f"{name} must be a fraction {bound}; got {value!r}.")


def span(phases: tuple[Phase, ...], index: int, total_steps: int) -> tuple[int, int]:
    """Return the first step of a phase and the step after its last."""
    start = round(phases[index - 1].until * total_steps) if index else 0
    stop = round(phases[index].until * total_steps)
    return start, max(stop, start)


def phase_at(phases: tuple[Phase, ...], step: int, total_steps: int) -> int:
    """Return the index of the phase that a step lies in; a step beyond the end lies in the last."""
    for index in range(len(phases)):
        if step < span(phases, index, total_steps)[1]:
            return index
    return len(phases) - 1
