"""The cursor: a moment of a run, and the whole state of a schedule."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any

from thermocline.errors import ConfigError, listing


@dataclass(frozen=True)
class Cursor:
    """A moment of a run. Nothing else about a schedule is stored anywhere.

    Attributes:
        step: Optimizer steps done, which is the 0-based index of the step to be taken.
        total_steps: Of the whole run, at most.
        phase: The index of the phase.
        phase_start: The step at which the phase began.
        steps_per_epoch: For ends in epochs; 0 where it is not known.
        best: The best score since the phase began, for a plateau.
        worse: Validations since then without a better one.
        share: Of the planned steps, where a time limit shortens the run: what phases and warm-ups that are given in
            steps or epochs are shortened to.

    Example:
        >>> from thermocline.tuning.schedule.cursor import Cursor
        >>> cursor = predictor.plan.start(total_steps=100)
        >>> Cursor.from_dict(cursor.to_dict()) == cursor
        True
    """

    step: int
    total_steps: int
    phase: int = 0
    phase_start: int = 0
    steps_per_epoch: int = 0
    best: float | None = None
    worse: int = 0
    share: float = 1.0

    def to_dict(self) -> dict[str, Any]:
        """Return plain data that JSON can hold."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Cursor:
        """Return the cursor that `to_dict` wrote.

        Raises:
            ConfigError: Not such data.
        """
        known = {one.name: one for one in fields(cls)}
        missing = [name for name, one in known.items() if one.default is MISSING and name not in data]
        if missing or set(data) - set(known):
            raise ConfigError(f"A cursor has the fields {listing(known)}; got {dict(data)!r}.")
        for name, value in data.items():
            good = isinstance(value, int) and value >= 0
            if name in ("best", "share"):
                good = isinstance(value, (int, float)) and (name == "best" or 0 < value <= 1)
            if isinstance(value, bool) or not (good or (name == "best" and value is None)):
                raise ConfigError(f"A cursor's {name} cannot be {value!r}.")
        return cls(**data)
