"""Comparing two fits on the same validation rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Gain:
    """By how much the loss of one fit is below that of another, in the mean of rows that both have outputs for.

    Attributes:
        mean: The mean; above 0 the fit is better. NaN without rows.
        error: Its standard error.
    """

    mean: float
    error: float

    @classmethod
    def of(cls, losses: np.ndarray, before: np.ndarray) -> Gain:
        """Return the gain of losses over those of another fit, float `(rows,)` both, NaN where a row has none."""
        less = before - losses
        less = less[np.isfinite(less)]
        if len(less) < 2:
            return cls(float("nan"), float("nan"))
        return cls(float(less.mean()), float(less.std(ddof=1) / np.sqrt(len(less))))

    @property
    def is_clear(self) -> bool:
        """Whether it is above 0 by more than its standard error."""
        return self.mean > self.error


def mean_loss(losses: np.ndarray | None) -> float:
    """Return the mean loss of the rows that have one; infinite where none has."""
    if losses is None or not np.isfinite(losses).any():
        return float("inf")
    return float(losses[np.isfinite(losses)].mean())
