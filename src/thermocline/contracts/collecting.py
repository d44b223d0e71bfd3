"""Collecting one array row per row: outputs, or features."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch


class ArrayCollector:
    """Collects one vector a row.

    Args:
        compute: Computes them for a batch, `(batch, width)`.
        rows: Number of rows that are collected.
        width: Numbers a row; None: as the first batch has them.
        positions: Their positions, sorted; None: the first ones.

    Attributes:
        values: float32 `(rows, width)`; zeros where a row was not reached.
        reached: Which rows were reached, bool `(rows,)`.
    """

    def __init__(
        self,
        compute: Callable[[Mapping[str, Any]], torch.Tensor],
        rows: int,
        *,
        width: int | None = None,
        positions: np.ndarray | None = None,
    ) -> None:
        self._compute, self._positions = compute, positions
        self._width = width
        self.values = np.zeros((rows, width or 0), dtype=np.float32)
        self.reached = np.zeros(rows, dtype=bool)

    def compute(self, batch: Mapping[str, Any]) -> torch.Tensor:
        """Return the vectors of a batch."""
        return self._compute(batch)

    def add(self, positions: np.ndarray, values: torch.Tensor) -> None:
        """Keep the vectors of a batch."""
        if self._positions is not None:
            positions = np.searchsorted(self._positions, positions)
        if self._width is None:
            self._width = int(values.shape[1])
            self.values = np.zeros((len(self.reached), self._width), dtype=np.float32)
        self.values[positions] = values.float().cpu().numpy()
        self.reached[positions] = True

    def outputs(self) -> np.ndarray:
        """Return the vectors of all rows, NaN where one was not reached."""
        return self.values if self.reached.all() else np.where(self.reached[:, None], self.values, np.float32("nan"))

    def scores(self, metrics: Sequence[str]) -> dict[str, float]:
        """Vectors alone have no score."""
        raise NotImplementedError(f"vectors alone have no score: {list(metrics)}")

    def fallback_loss(self) -> float | None:
        """Vectors alone have no loss."""
        return None
