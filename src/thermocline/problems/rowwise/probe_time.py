"""How much time a probe may still take, and how many rows and iterations that is."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

FEWEST_ITERATIONS = 30  # with fewer, fewer rows are the better probe


def unlimited() -> float:
    """Return the seconds left where there is no limit."""
    return float("inf")


@dataclass
class Pace:
    """What solving takes a row and an iteration, measured on the fits that were made.

    Attributes:
        left: Returns the seconds that are left.
        work: Rows times iterations of all fits so far.
        seconds: What they took.
        longest: What the longest took.
    """

    left: Callable[[], float] = unlimited
    work: float = 0.0
    seconds: float = 0.0
    longest: float = 0.0

    def measured(self, fit: Callable[[], float]) -> None:
        """Make a fit that returns its rows times its iterations, and note what it took."""
        begin = time.monotonic()
        self.work += max(fit(), 1.0)
        took = time.monotonic() - begin
        self.seconds += took
        self.longest = max(self.longest, took)

    def allows_another(self) -> bool:
        """Whether another fit like those so far would end in time."""
        return self.left() > self.longest

    def affordable(self, rows: int, iterations: int, fewest: int) -> tuple[int, int]:
        """Return the rows and iterations that a last fit may have."""
        left = self.left()
        if np.isinf(left) or not self.seconds:
            return rows, iterations
        work = max(left, 0.0) * self.work / self.seconds
        if work < rows * min(iterations, FEWEST_ITERATIONS):
            iterations = min(iterations, FEWEST_ITERATIONS)
            return int(np.clip(work / iterations, min(fewest, rows), rows)), iterations
        return rows, int(min(iterations, work / rows))
