"""The start of the projections of texts and images: the directions in which both go together.

Canonical correlation analysis (Hotelling 1936), with covariances held back towards a multiple of the identity, as few
rows need it (Vinod 1976). It is to pairs what the linear probe is to classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from thermocline.data.batches import Rows
from thermocline.errors import counted
from thermocline.problems.similarity.model import SimilarityModel

MOST_ROWS = 5_000
FEWEST_ROWS = 20
SHRINKAGE = 0.3
"""Of a covariance: what is taken from its own and put into that of independent features of the same size."""
SMALL = 0.1
"""What is left of the random weights of numbers that the rows have no direction for."""


class CorrelatedStart:
    """Computes projections from the features of training pairs that match.

    Args:
        model: The model; of two towers.
        train: Its rows.
        seed: Of the rows that are drawn, where there are many.
    """

    def __init__(self, model: SimilarityModel, train: Rows, *, seed: int) -> None:
        assert train.target is not None
        self._model = model
        matches = np.flatnonzero((train.target[:, 0] > 0.5) & (train.weights > 0))
        if len(matches) > MOST_ROWS:
            matches = np.sort(np.random.default_rng([seed, 0xCC]).permutation(matches)[:MOST_ROWS])
        self._rows = matches
        self._widths = list(model.features_of.values())

    @property
    def name(self) -> str:
        """What the head starts at."""
        return "the correlations of the towers"

    @property
    def rows(self) -> np.ndarray:
        """Positions of the training rows that it is computed from."""
        return self._rows

    @property
    def memory(self) -> int:
        """About how many bytes it takes."""
        total = sum(self._widths)
        return 8 * (2 * len(self._rows) * total + 4 * total * total)

    def features(self, batch: Mapping[str, Any]) -> torch.Tensor:
        """Return the features of query and response, one behind the other, float `(rows, width)`."""
        return torch.cat([one[:, 0] for one in self._model.features(batch).values()], dim=1)

    def apply(self, features: np.ndarray, reached: np.ndarray, seconds_left: Callable[[], float]) -> str:
        """Write the projections into the head, and return a note."""
        del seconds_left
        known = features[reached].astype(np.float64)
        if len(known) < FEWEST_ROWS or not np.isfinite(known).all():
            return ""
        parts = known[:, : self._widths[0]], known[:, self._widths[0] :]
        maps = correlated(parts[0], parts[1], self._model.width)
        for linear, part, weight in zip(self._model.head.values(), parts, maps, strict=True):
            with torch.no_grad():
                linear.weight.mul_(SMALL * float(np.abs(weight).mean()) / float(linear.weight.abs().mean()))
                linear.weight[: len(weight)] = torch.from_numpy(weight).to(linear.weight)
                bias = np.zeros(self._model.width)
                bias[: len(weight)] = -weight @ part.mean(axis=0)
                linear.bias.copy_(torch.from_numpy(bias).to(linear.bias))
        return f"projections start from the correlations of {counted(len(known), 'pair')}"


def correlated(x: np.ndarray, y: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Return linear maps of two sets of features in whose outputs they go together, strongest first.

    Args:
        x: float64 `(rows, features)`.
        y: Of the other side, `(rows, others)`.
        width: At most so many directions.

    Returns:
        `(directions, features)` and `(directions, others)`.
    """
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    left, right = _whitening(x), _whitening(y)
    u, strength, v = np.linalg.svd(left @ (x.T @ y / len(x)) @ right, full_matrices=False)
    count = min(width, len(x) - 1, len(strength))
    scale = np.sqrt(strength[:count])[:, None]
    return scale * (u.T[:count] @ left), scale * (v[:count] @ right)


def _whitening(x: np.ndarray) -> np.ndarray:
    """Return the inverse root of a covariance, held back, `(features, features)`."""
    covariance = x.T @ x / len(x)
    mean = np.trace(covariance) / len(covariance)
    values, vectors = np.linalg.eigh((1 - SHRINKAGE) * covariance + SHRINKAGE * mean * np.eye(len(covariance)))
    return np.asarray((vectors / np.sqrt(np.maximum(values, 1e-12))) @ vectors.T)
