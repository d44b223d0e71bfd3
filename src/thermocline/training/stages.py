"""How long the stages of a fit take. Nothing that is trained or saved depends on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

TRAINING, VALIDATION, PROBE, END = "training", "validation", "probe", "end"
"""Stages: steps and what belongs to them; scoring; the start of the head; what is fitted and averaged at the end."""


class Stages:
    """A clock for stages that lie in each other: each second counts for the innermost one.

    Attributes:
        seconds: Stage → seconds, in the order in which they began first.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._current, self._since = "", monotonic()

    @contextmanager
    def of(self, stage: str) -> Iterator[None]:
        """Count the seconds of this context for a stage."""
        outer = self._switched(stage)
        try:
            yield
        finally:
            self._switched(outer)

    def _switched(self, stage: str) -> str:
        """Count the seconds until now, go on with another stage, and return the one before."""
        now, before = monotonic(), self._current
        if before:
            self.seconds[before] += now - self._since
        if stage:
            self.seconds.setdefault(stage, 0.0)
        self._current, self._since = stage, now
        return before
