"""Embeddings of pairs, collected over a pass and scored; of predictions the cosines alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from thermocline.contracts.collecting import ArrayCollector
from thermocline.data.batches import Rows
from thermocline.problems.similarity.metrics import score_pairs
from thermocline.problems.similarity.model import SimilarityModel
from thermocline.problems.similarity.target import PairTarget, cosines_of


class PairCollector(ArrayCollector):
    """Collects embeddings of query and response float32 `(rows, 2 * width)`, or cosines float64 `(rows, 1)`.

    Args:
        model: The model.
        target: What encoded the labels.
        rows: The rows; scoring needs their encoded labels.
        scoring: Whether scores follow.
    """

    def __init__(self, model: SimilarityModel, target: PairTarget, rows: Rows, *, scoring: bool) -> None:
        super().__init__(model.pair, len(rows), width=2 * model.width if scoring else 1)
        self._target, self._rows, self._model, self._scoring = target, rows, model, scoring
        if not scoring:
            self.values: np.ndarray = np.zeros((len(rows), 1))

    def add(self, positions: np.ndarray, values: torch.Tensor) -> None:
        """Keep what a batch gave; of predictions the cosines alone."""
        if self._scoring:
            super().add(positions, values)
            return
        self.values[positions, 0] = cosines_of(values.float().cpu().numpy())
        self.reached[positions] = True

    def scores(self, metrics: Sequence[Any]) -> dict[str, float]:
        """Return metrics over the rows that were reached."""
        rows = np.flatnonzero(self.reached)
        if not len(rows) or self._rows.target is None:
            return dict.fromkeys(metrics, math.nan)
        weight = None if self._rows.weight is None else self._rows.weight[rows]
        device: torch.device = next(self._model.parameters()).device
        return score_pairs(self._target, metrics, self.values[rows], self._rows.target[rows], weight, device)
