"""A model of rows as a module of arrays: its outputs as probabilities, or as numbers in the label's units."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from thermocline.contracts.exporting import ExportForm, by_input
from thermocline.contracts.problem import Assembly
from thermocline.problems.rowwise.model import FusionModel
from thermocline.problems.rowwise.quantiles import nearest
from thermocline.problems.rowwise.target import MIDDLE, RowTarget
from thermocline.problems.rowwise.transforms import Transform

SOURCES = ("thermocline.problems.rowwise.standalone",)


def row_form(assembly: Assembly, folder: Path) -> ExportForm:
    """Return the model and what its answers are made from.

    Raises:
        ExportError: An input cannot be exported.
    """
    target: RowTarget = assembly.target
    inputs = {name: one.kind.export_form(one, folder) for name, one in assembly.built.inputs.items()}
    settings: dict[str, Any] = {
        "problem_type": target.problem_type,
        "label": target.label if isinstance(target.label, str) else list(target.label),
        "classes": list(target.classes),
    }
    if target.problem_type == "binary":
        settings |= {"positive": target.positive_code, "threshold": target.threshold or MIDDLE}
    if len(target.levels) > 1:
        settings |= {"levels": list(target.levels)}

    def expected(outputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        raw = outputs["outputs"]
        if target.problem_type != "regression":
            return {"probabilities": target.activate(raw)}
        several = {"quantiles": target.quantiles(raw)} if len(target.levels) > 1 else {}
        return {"predictions": target.predicted(raw)} | several

    return ExportForm(RowOutputs(assembly.model, target), inputs, expected, settings, "RowAnswers", SOURCES)


class RowOutputs(nn.Module):
    """A model of rows that takes a dict of arrays.

    Args:
        model: The model; what was fitted beside the network is in it.
        target: What the label asks for, with its temperature and scale.
    """

    def __init__(self, model: FusionModel, target: RowTarget) -> None:
        super().__init__()
        self.model = model
        self.target = target

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Map arrays to outputs.

        Args:
            inputs: `"<tower>/<array>"` → tensor, as `RowPart.batch` makes them.

        Returns:
            `outputs`, raw float32 `(rows, width)`, and `probabilities` float32 of the same shape, or `predictions`
            float64 `(rows, 1)` in the label's units, and where several quantiles are learnt `quantiles`, alike.
        """
        outputs = self.model(by_input(inputs)).float()
        levels = self.target.levels
        if levels:
            quantiles = self._quantiles(outputs.double())
            middle = nearest(levels, MIDDLE)
            several = {"quantiles": quantiles} if len(levels) > 1 else {}
            return {"outputs": outputs, "predictions": quantiles[:, middle : middle + 1], **several}
        if self.target.problem_type == "regression":
            return {"outputs": outputs, "predictions": self._in_units(outputs.double())}
        scaled = outputs / self.target.temperature
        labels = self.target.problem_type == "multilabel"
        return {"outputs": outputs, "probabilities": scaled.sigmoid() if labels else scaled.softmax(dim=1)}

    def _quantiles(self, outputs: torch.Tensor) -> torch.Tensor:
        """Return what `RowTarget.quantiles` does."""
        target, levels = self.target, self.target.levels
        moved = outputs + torch.tensor(target.offsets or (0.0,) * len(levels), dtype=torch.float64)
        ordered = moved.topk(len(levels), dim=1, largest=False).values  # sorted; onnxruntime has no `sort`
        units = ordered * target.std + target.mean
        return units if target.transform is None else _inverse(target.transform, units)

    def _in_units(self, outputs: torch.Tensor) -> torch.Tensor:
        """Return what `RowTarget.predicted` does."""
        transform = self.target.transform
        if transform is None:
            return outputs * self.target.std + self.target.mean
        errors = torch.tensor(transform.errors or (0.0,), dtype=torch.float64)
        scaled = (outputs + errors) * self.target.std + self.target.mean
        return _inverse(transform, scaled).mean(dim=1, keepdim=True)


def _inverse(transform: Transform, values: torch.Tensor) -> torch.Tensor:
    """Return what `Transform.inverse` does."""
    labels = torch.tensor(transform.labels, dtype=torch.float64)
    if not transform.scores:
        shift = 1.0 if transform.labels[0] == 0 else 0.0
        low, high = torch.log(labels + shift)
        inside = values.maximum(low).minimum(high)
        return inside.exp() * (1 + values - inside) - shift
    scores = torch.tensor(transform.scores, dtype=torch.float64)
    inside = values.maximum(scores[0]).minimum(scores[-1])
    right = (inside[..., None] >= scores).sum(dim=-1).clamp(1, len(scores) - 1)
    share = (inside - scores[right - 1]) / (scores[right] - scores[right - 1])
    slope = (labels[-1] - labels[0]) / (scores[-1] - scores[0])
    return labels[right - 1] + share * (labels[right] - labels[right - 1]) + slope * (values - inside)


def with_outputs(assembly: Assembly, run: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> Assembly:
    """Return an assembly whose raw outputs an exported model computes."""
    model = copy.copy(assembly.model)

    def forward(batch: Mapping[str, Any]) -> torch.Tensor:
        arrays = {f"{name}/{key}": one for name in assembly.model.towers for key, one in batch[name].items()}
        outputs: torch.Tensor = run(arrays)["outputs"]
        return outputs

    model.forward = forward
    return replace(assembly, built=replace(assembly.built, model=model))
