"""Rows of a table as arrays."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from thermocline.data.row_part import RowPart


@dataclass(frozen=True)
class TableRows(RowPart):
    """Rows of a table, ready to be cut into batches.

    Attributes:
        numbers: float32 `(rows, n_numeric)`, standardised, missing values at 0 (the median).
        missing: float32 `(rows, n_numeric)`, 1 where the number was missing.
        codes: int64 `(rows, n_categorical)`, 0 for missing or unknown categories.
    """

    numbers: np.ndarray
    missing: np.ndarray
    codes: np.ndarray

    def __len__(self) -> int:
        return len(self.codes)

    def batch(self, rows: np.ndarray, epoch: int | None = None) -> dict[str, np.ndarray]:
        """Return the arrays of these row positions."""
        del epoch
        return {"numbers": self.numbers[rows], "missing": self.missing[rows], "codes": self.codes[rows]}

    def identity(self, *, files: bool) -> Iterator[bytes]:
        """Yield the bytes of the arrays; there are no files."""
        del files
        yield from (np.ascontiguousarray(array).tobytes() for array in (self.numbers, self.missing, self.codes))
