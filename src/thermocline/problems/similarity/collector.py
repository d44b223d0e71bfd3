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
from thermocline.problems.similarity.target import PairTarget


class PairCollector(ArrayCollector):
    """Collects embeddings `(rows, sides * width)`, or cosines `(rows, 1)`.

    Args:
        model: The model.
        target: What encoded the labels.
        rows: The rows; scoring needs their encoded labels.
        scoring: Whether scores follow.
    """

    def __init__(self, model: SimilarityModel, target: PairTarget, rows: Rows, *, scoring: bool) -> None:
        super().__init__(model if scoring else model.cosines, len(rows), width=model.row_width if scoring else 1)
        self._target, self._rows, self._model = target, rows, model

    def scores(self, metrics: Sequence[Any]) -> dict[str, float]:
        """Return metrics over the rows that were reached."""
        rows = np.flatnonzero(self.reached)
        if not len(rows) or self._rows.target is None:
            return dict.fromkeys(metrics, math.nan)
        weight = None if self._rows.weight is None else self._rows.weight[rows]
        device: torch.device = next(self._model.parameters()).device
        return score_pairs(self._target, metrics, self.values[rows], self._rows.target[rows], weight, device)
