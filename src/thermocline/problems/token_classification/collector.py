"""Entities that a model finds, collected over a pass: windows are merged, and tags decoded row by row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from thermocline.problems.token_classification.decoding import best_tags, entity_runs
from thermocline.problems.token_classification.metrics import scores_of
from thermocline.problems.token_classification.model import TOWER, TokenModel
from thermocline.problems.token_classification.objective import token_losses
from thermocline.problems.token_classification.rows import IGNORED, TokenRows
from thermocline.problems.token_classification.spans import Spans
from thermocline.problems.token_classification.target import EntityTarget
from thermocline.problems.token_classification.units import continuing

Found = list[dict[str, Any]]


class EntityCollector:
    """Collects the entities found in texts.

    The log-probabilities of a row are kept until all of its windows are there; then its entities are.

    Args:
        model: The model.
        target: The classes.
        part: The windows.
        texts: The texts of the frame's rows.
        truths: Their true entities; None where nothing is scored.
        least_score: Entities of a lower score are left out.
    """

    def __init__(
        self,
        model: TokenModel,
        target: EntityTarget,
        part: TokenRows,
        texts: Sequence[str],
        *,
        truths: Spans | None = None,
        least_score: float = 0.0,
    ) -> None:
        self._model, self._target, self._part, self._texts = model, target, part, texts
        self._truths, self._least_score = truths, least_score
        self._missing = np.bincount(part.owner, minlength=len(texts))
        self._open: dict[int, np.ndarray] = {}
        self._found: dict[int, Found] = {}
        self._loss, self._tagged = 0.0, 0

    def compute(self, batch: Mapping[str, Any]) -> tuple[torch.Tensor, float, int]:
        """Return log-probabilities of tags, float32 `(windows, tokens, tags)`, the sum of losses, and of tokens."""
        outputs = self._model(batch)
        tags = batch[TOWER].get("tags")
        loss, tagged = 0.0, 0
        if tags is not None:
            loss, tagged = float(token_losses(outputs, tags).sum()), int((tags != IGNORED).sum())
        return outputs.float().log_softmax(dim=-1).cpu(), loss, tagged

    def add(self, positions: np.ndarray, values: tuple[torch.Tensor, float, int]) -> None:
        """Keep what a batch gave, and decode the rows that are whole now."""
        scores, loss, tagged = values
        self._loss += loss
        self._tagged += tagged
        part, whole = self._part, []
        for place, own in zip(positions.tolist(), scores.numpy(), strict=True):
            row, window = int(part.owner[place]), part.windows[place]
            kept = self._open.get(row)
            if kept is None:
                kept = self._open[row] = np.zeros((len(part.tokens[row]), own.shape[1]), dtype=np.float32)
            begin = part.lead + window.first - window.start
            kept[window.first : window.last] = own[begin : begin + window.last - window.first]
            self._missing[row] -= 1
            if not self._missing[row]:
                whole.append(row)
        self._decode(whole)

    def _decode(self, rows: Sequence[int]) -> None:
        scores, flags, offsets = [], [], []
        for row in rows:
            tokens = self._part.tokens[row]
            real = tokens.real
            places = tokens.offsets[real]
            scores.append(self._open.pop(row)[real])
            offsets.append(places)
            flags.append(continuing(self._texts[row], places, self._target.units))
        for row, tags, own, places in zip(rows, best_tags(scores, flags), scores, offsets, strict=True):
            self._found[row] = self._entities(self._texts[row], tags, own, places)

    def _entities(self, text: str, tags: np.ndarray, scores: np.ndarray, offsets: np.ndarray) -> Found:
        found = []
        for first, last, code in entity_runs(tags):
            chosen = np.exp(scores[np.arange(first, last), tags[first:last]])
            start, end = int(offsets[first, 0]), int(offsets[last - 1, 1])
            score = float(chosen.mean())
            if score >= self._least_score:
                label = self._target.classes[code]
                found.append({"start": start, "end": end, "label": label, "score": score, "text": text[start:end]})
        return found

    def outputs(self) -> list[Found]:
        """Return for each row the entities found in it, by place."""
        return [self._found.get(row, []) for row in range(len(self._texts))]

    def scores(self, metrics: Sequence[str]) -> dict[str, float]:
        """Return scores of whole entities over the rows that were reached."""
        assert self._truths is not None
        rows = sorted(self._found)
        return scores_of([self._truths.rows[row] for row in rows], [self._found[row] for row in rows], metrics)

    def fallback_loss(self) -> float | None:
        """Return the mean loss of a token; None without labels."""
        return self._loss / self._tagged if self._tagged else None
