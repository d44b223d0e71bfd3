"""How a metric of rows is computed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray
Weight: TypeAlias = np.ndarray | None


@dataclass(frozen=True)
class Computed:
    """How a metric is computed.

    Attributes:
        needs: `prediction` (classes, 0/1 per label, numbers), `probability`, or `quantiles` (numbers, a column each).
        compute: `(problem_type, target, given, weight) -> float`.
    """

    needs: str
    compute: Callable[[str, Array, Array, Weight], float] = field(repr=False, compare=False)
