"""How far predicted numbers are off: split-conformal intervals (Vovk et al. 2005; Lei et al., JASA 2018).

An interval is the prediction plus and minus the k-th smallest of n absolute errors on rows that were not trained on,
k = ⌈(n + 1) · coverage⌉. The number of a new row of the same kind lies in it with at least that probability.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from thermocline.errors import ConfigError, counted

MOST_KEPT = 1_000
ROUNDING = 1e-9  # (9 + 1) * 0.9 is 9, not a little more


@dataclass(frozen=True)
class Residuals:
    """Absolute errors on the validation rows.

    Attributes:
        count: How many rows they are of.
        sizes: The errors in the label's units, sorted, below 0 where they are distances from outside an interval; of
            more than 1,000 so many, evenly by rank.
    """

    count: int
    sizes: tuple[float, ...]

    @classmethod
    def of(cls, truth: np.ndarray, predicted: np.ndarray) -> Residuals | None:
        """Return the errors of rows, or None where there are no rows.

        Args:
            truth: Numbers `(rows,)` in the label's units.
            predicted: What was predicted; rows where this is not finite are left out.
        """
        return cls.signed(np.abs(np.asarray(truth, dtype=np.float64) - np.asarray(predicted, dtype=np.float64)))

    @classmethod
    def signed(cls, errors: np.ndarray) -> Residuals | None:
        """Return errors `(rows,)` that may be below 0, or None where none is finite."""
        errors = np.sort(errors[np.isfinite(errors)])
        if not len(errors):
            return None
        kept = errors if len(errors) <= MOST_KEPT else errors[_ranks(len(errors)) - 1]
        return cls(len(errors), tuple(kept.tolist()))

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values; `from_dict` undoes it exactly."""
        return {"count": self.count, "sizes": list(self.sizes)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Residuals:
        """Return what `to_dict` wrote down."""
        return cls(int(values["count"]), tuple(values["sizes"]))

    def half_width(self, coverage: float) -> float:
        """Return what is to be added and taken away from a prediction.

        Where not all errors are kept it is the next larger one that is.

        Args:
            coverage: The share of new rows that the intervals are to hold, between 0 and 1.

        Raises:
            ConfigError: The errors are too few for it.
        """
        rank = math.ceil((self.count + 1) * coverage - ROUNDING)
        if rank > self.count:
            needed = math.ceil(coverage / (1 - coverage) - ROUNDING)
            raise ConfigError(
                f"coverage={coverage:g} needs at least {counted(needed, 'validation row')}, and there were "
                f"{self.count:,}. These allow at most {self.count / (self.count + 1):.3g}: ask for less, or fit with a "
                "larger data.valid_fraction or with tuning_data."
            )
        place = rank - 1 if self.count <= MOST_KEPT else int(np.searchsorted(_ranks(self.count), rank))
        return self.sizes[max(0, place)]


def check_coverage(coverage: object) -> float:
    """Return a share of rows as a number.

    Raises:
        ConfigError: It is no number between 0 and 1.
    """
    if isinstance(coverage, bool) or not isinstance(coverage, (int, float, np.number)) or not 0 < coverage < 1:
        raise ConfigError(f"coverage is a number above 0 and below 1, such as 0.9, not {coverage!r}.")
    return float(coverage)


def _ranks(count: int) -> np.ndarray:
    """Return the ranks of errors that are kept, from 1; the last is among them."""
    return -(-np.arange(1, MOST_KEPT + 1, dtype=np.int64) * count // MOST_KEPT)
