"""Outputs as classes, labels and numbers, in the program beside an exported model; see `data.standalone_cells`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np


class RowAnswers:
    """Turns what an exported model gives into answers, as `RowTarget` does.

    Args:
        settings: `problem_type`, `label`, `classes`, `positive` (the number of the positive class), `threshold`;
            `levels` of several quantiles.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.settings = settings
        self.kind, self.classes = settings["problem_type"], settings["classes"]

    def of(self, outputs: Mapping[str, np.ndarray], _arrays: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
        """Return for each row its `prediction` and, of classes, `probabilities` by class; `quantiles` by level."""
        if self.kind == "regression":
            found: list[dict[str, Any]] = [{"prediction": float(number)} for number in outputs["predictions"][:, 0]]
            for answer, row in zip(found, outputs.get("quantiles", ()), strict=False):
                answer["quantiles"] = self._levels(row)
            return found
        chances = outputs["probabilities"]
        return [{"prediction": self._chosen(row), "probabilities": self._named(row)} for row in chances]

    def _levels(self, row: np.ndarray) -> dict[str, float]:
        return {f"{level:g}": float(number) for level, number in zip(self.settings["levels"], row, strict=True)}

    def _named(self, row: np.ndarray) -> dict[Any, float]:
        return {name: float(chance) for name, chance in zip(self.classes, row, strict=True)}

    def _chosen(self, row: np.ndarray) -> Any:
        if self.kind == "multilabel":
            chosen = [bool(chance > 0.5) for chance in row]
            if isinstance(self.settings["label"], list):
                return {name: int(there) for name, there in zip(self.classes, chosen, strict=True)}
            return [name for name, there in zip(self.classes, chosen, strict=True) if there]
        if self.kind == "binary":
            yes = self.settings["positive"]
            return self.classes[yes if row[yes] > self.settings["threshold"] else 1 - yes]
        return self.classes[int(row.argmax())]
