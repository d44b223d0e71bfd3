"""When a number that validation rows ask for is taken, and how many rows weighted rows stand for."""

from __future__ import annotations

import numpy as np

LEAST_GAIN = 1.0
"""Log-likelihood that a number has to gain: what Akaike's criterion (1974) takes for a parameter."""


def effective_count(weight: np.ndarray | None, rows: int) -> float:
    """Return how many rows of equal weight rows stand for (Kish 1965); 0 where all weights are 0."""
    if weight is None:
        return rows
    squares = float((np.asarray(weight, dtype=np.float64) ** 2).sum())
    return float(weight.sum(dtype=np.float64)) ** 2 / squares if squares else 0.0
