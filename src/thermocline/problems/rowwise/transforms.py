"""Scales on which numbers are learnt: their logarithm, or normal scores of their ranks.

What a model gives on such a scale is undone by the inverse, the median of the label where errors are even on the
scale. For a mean the inverse is averaged over errors of the validation rows ("smearing": Duan, JASA 1983).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from thermocline.errors import LabelError

MOST_KNOTS = 256
ERRORS = 101
"""So many quantiles of the errors stand for all of them."""

MEANS = ("rmse", "mse", "r2", "pearson")
"""Metrics that ask for a mean."""


@dataclass(frozen=True)
class Transform:
    """A strictly increasing function of numbers; beyond the training labels it goes on as a straight line.

    Attributes:
        name: `log` or `quantile`.
        labels: Training labels in order: the lowest and the highest, or up to 256 quantiles.
        scores: Of `quantile`, the normal score of each; of `log` empty.
        errors: Quantiles of errors of validation, on the scale of what a model gives; empty where no mean is wanted.
    """

    name: str
    labels: tuple[float, ...]
    scores: tuple[float, ...] = ()
    errors: tuple[float, ...] = ()

    @classmethod
    def of(cls, name: str, values: np.ndarray, column: str) -> Transform:
        """Return the scale of training labels.

        Args:
            name: `log` (of 1 + the label where one is 0) or `quantile`.
            values: Finite labels `(rows,)`, not all alike.
            column: The label column, for the message.

        Raises:
            LabelError: A logarithm of numbers below 0.
        """
        values = np.asarray(values, dtype=np.float64)
        if name == "quantile":
            return cls(name, *_normal_scores(values))
        if values.min() < 0:
            raise LabelError(
                f"data.target_transform=log takes labels of 0 and above, and {column!r} goes down to {values.min():g}. "
                "Set it to quantile or none."
            )
        return cls(name, (float(values.min()), float(values.max())))

    def forward(self, values: np.ndarray) -> np.ndarray:
        """Return labels on the scale, float64 of the same shape."""
        values = np.asarray(values, dtype=np.float64)
        if self.scores:
            return _straight(values, np.array(self.labels), np.array(self.scores))
        low, high = np.array(self.labels) + self._shift
        inside = np.clip(values + self._shift, low, high)
        return np.asarray(np.log(inside) + (values + self._shift - inside) / inside)

    def inverse(self, values: np.ndarray) -> np.ndarray:
        """Return what `forward` was given."""
        values = np.asarray(values, dtype=np.float64)
        if self.scores:
            return _straight(values, np.array(self.scores), np.array(self.labels))
        low, high = np.log(np.array(self.labels) + self._shift)
        inside = np.clip(values, low, high)
        return np.asarray(np.exp(inside) * (1 + values - inside) - self._shift)

    def with_errors(self, errors: np.ndarray) -> Transform:
        """Return it with quantiles of errors `(rows,)`: truth minus output, as the model gives it."""
        shares = (np.arange(ERRORS) + 0.5) / ERRORS
        return replace(self, errors=tuple(np.quantile(np.asarray(errors, dtype=np.float64), shares).tolist()))

    @property
    def _shift(self) -> float:
        return 1.0 if self.labels[0] == 0 else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values; `from_dict` undoes it exactly."""
        return {name: list(one) if isinstance(one, tuple) else one for name, one in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Transform:
        """Return what `to_dict` wrote down."""
        return cls(values["name"], *(tuple(values[name]) for name in ("labels", "scores", "errors")))


def _normal_scores(values: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return up to 256 different labels in order, and the normal quantile at the middle of the ranks of each."""
    from scipy.special import ndtri

    ordered, count = np.sort(values), len(values)
    ranks = np.linspace(0, count - 1, min(count, MOST_KNOTS)).round().astype(np.int64)
    knots = np.unique(ordered[ranks])
    middle = (np.searchsorted(ordered, knots, "left") + np.searchsorted(ordered, knots, "right")) / 2
    return tuple(knots.tolist()), tuple(ndtri(middle / count).tolist())


def _straight(values: np.ndarray, knots: np.ndarray, heights: np.ndarray) -> np.ndarray:
    """Interpolate; beyond the ends go on with the slope from end to end."""
    slope = (heights[-1] - heights[0]) / (knots[-1] - knots[0])
    return np.asarray(np.interp(values, knots, heights) + slope * (values - np.clip(values, knots[0], knots[-1])))
