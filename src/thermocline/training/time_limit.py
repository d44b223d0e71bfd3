"""A limit on the time of a fit, and how much of it is left."""

from __future__ import annotations

import time


class TimeLimit:
    """Counts time.

    Args:
        seconds: The limit, or `None` for none.
        start: When the time began, by `time.monotonic()`; by default now.
    """

    def __init__(self, seconds: float | None, start: float | None = None) -> None:
        self.start = time.monotonic() if start is None else start
        self.seconds = seconds

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.start

    @property
    def left(self) -> float:
        """Seconds left; infinite without a limit."""
        return float("inf") if self.seconds is None else self.seconds - self.elapsed

    def allows(self, seconds: float) -> bool:
        """Say whether something that takes this long would still end in time."""
        return self.left >= seconds
