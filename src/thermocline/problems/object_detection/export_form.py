"""A detector as a module of arrays: scores of all classes and edges of boxes for every query."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers.utils import ModelOutput

from thermocline.contracts.exporting import ROWS, ExportForm, InputForm
from thermocline.contracts.problem import Assembly
from thermocline.errors import ExportError
from thermocline.problems.object_detection.box_spec import DetectionSpec
from thermocline.problems.object_detection.detector import Detector, takes_mask
from thermocline.problems.object_detection.model import TOWER
from thermocline.problems.object_detection.options import DetectorOptions
from thermocline.problems.object_detection.standalone import BoxAnswers

SOURCES = (
    "thermocline.data.standalone_cells",
    "thermocline.inputs.image.standalone",
    "thermocline.problems.object_detection.standalone",
)
RAW = ("logits", "pred_boxes")
QUERIES = 40  # of the outputs that tell which rule makes boxes of them


def box_form(assembly: Assembly) -> ExportForm:
    """Return the detector and what its boxes are made from.

    Raises:
        ExportError: transformers makes boxes of its outputs by a rule that is not known here.
    """
    detector: Detector = assembly.model.detector
    options = assembly.config.section("model.detector", DetectorOptions)
    settings: dict[str, Any] = {
        "problem_type": assembly.target.problem_type,
        "label": assembly.target.label,
        "classes": list(detector.classes),
        "score": options.score_threshold,
        "most": options.max_boxes,
    }
    settings |= _rule(detector, settings)
    one_class = bool(settings["one_class"])
    masked = takes_mask(detector.model)
    model = DetectorOutputs(detector, one_class=one_class)

    def expected(outputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        scores = _scores(torch.from_numpy(outputs["logits"]), one_class=one_class)
        return {"scores": scores.numpy(), "boxes": _edges(torch.from_numpy(outputs["pred_boxes"])).numpy()}

    inputs = {TOWER: _input(detector.spec, assembly.columns.of("image")[0], masked=masked)}
    return ExportForm(
        model, inputs, expected, settings, "BoxAnswers", SOURCES, one_row=not detector.spec.one_size, unordered=RAW
    )


class DetectorOutputs(nn.Module):
    """A detector that takes a dict of arrays.

    Args:
        detector: The detector.
        one_class: Whether a query has one class, by a softmax in which the last output means no object.
    """

    def __init__(self, detector: Detector, *, one_class: bool) -> None:
        super().__init__()
        self.detector, self.one_class = detector, one_class

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Map arrays to outputs.

        Args:
            inputs: `detector/pixels` uint8 `(rows, 3, height, width)` and `detector/mask` `(rows, height, width)`.

        Returns:
            Float32 `logits` and `pred_boxes` as the library gives them; `scores` `(rows, queries, classes)`, and
            `boxes` `(rows, queries, 4)`: x1, y1, x2, y2 as shares.
        """
        given = self.detector({name.removeprefix(f"{TOWER}/"): array for name, array in inputs.items()})["outputs"]
        logits, boxes = given.logits.float(), given.pred_boxes.float()
        scores = _scores(logits, one_class=self.one_class)
        return {"logits": logits, "pred_boxes": boxes, "scores": scores, "boxes": _edges(boxes)}


def _scores(logits: torch.Tensor, *, one_class: bool) -> torch.Tensor:
    return logits.softmax(dim=-1)[..., :-1] if one_class else logits.sigmoid()


def _edges(boxes: torch.Tensor) -> torch.Tensor:
    centre, size = boxes[..., :2], boxes[..., 2:]
    return torch.cat([centre - size / 2, centre + size / 2], dim=-1)


def _input(spec: DetectionSpec, column: str, *, masked: bool) -> InputForm:
    height, width = (None, None) if spec.one_size or spec.resize == "fit" else ("height", "width")
    axes: dict[str, tuple[str | None, ...]] = {"pixels": (ROWS, None, height, width), "mask": (ROWS, height, width)}
    settings = {"column": column, "spec": spec.to_dict(), "masked": masked}
    return InputForm(axes, partial(_example, spec), settings, "DetectorReader", SOURCES)


def _example(spec: DetectionSpec, rows: int) -> dict[str, np.ndarray]:
    """Return arrays of made-up images, of different shapes where shapes are kept."""
    rng = np.random.default_rng(rows)
    shapes = [(96 + 24 * (rows + row), 128) for row in range(rows)]
    inner = np.array([spec.inner(*shape) for shape in shapes], dtype=np.int64)
    outer = spec.outer(inner)
    mask = np.zeros((rows, *outer), dtype=np.int64)
    for row, (height, width) in enumerate(inner.tolist()):
        mask[row, :height, :width] = 1
    return {"pixels": rng.integers(0, 256, (rows, 3, *outer), dtype=np.uint8), "mask": mask}


def _rule(detector: Detector, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return how the library makes boxes of outputs, found by trying the rules of `BoxAnswers` on made-up ones.

    Raises:
        ExportError: By none of them.
    """
    classes, most = len(detector.classes), settings["most"]
    logits = 3 * torch.randn(1, QUERIES, classes + 1, generator=torch.Generator().manual_seed(0))
    boxes = torch.rand(1, QUERIES, 4, generator=torch.Generator().manual_seed(1)) * 0.2 + 0.4
    arrays = {"sizes": np.array([[90, 100]]), "scale": np.array([[100, 90]], dtype=np.float32)}
    for rule in ({"one_class": True}, {"one_class": False, "pairs": None}, {"one_class": False, "pairs": most}):
        given = logits if rule["one_class"] else logits[..., :classes]
        wanted = detector.decode(
            ModelOutput(logits=given, pred_boxes=boxes), [[90, 100]], threshold=settings["score"], most=most
        )[0]
        scores = _scores(given, one_class=bool(rule["one_class"])).numpy()
        found = BoxAnswers({**settings, **rule}).of({"scores": scores, "boxes": _edges(boxes).numpy()}, arrays)
        if _alike(found[0]["prediction"], wanted):
            return rule
    raise ExportError(
        f"The boxes of {type(detector.model).__name__} are made by a rule of {detector.origin.processor} that an "
        "export does not know. Save the predictor instead, predictor.save(path)."
    )


def _alike(found: list[dict[str, Any]], wanted: list[dict[str, Any]]) -> bool:
    return [box["label"] for box in found] == [box["label"] for box in wanted] and all(
        np.allclose([one["score"], *one["box"]], [other["score"], *other["box"]], atol=1e-3)
        for one, other in zip(found, wanted, strict=True)
    )


def with_outputs(assembly: Assembly, run: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> Assembly:
    """Return an assembly whose raw outputs an exported model computes."""
    model = copy.copy(assembly.model)
    detector = copy.copy(model.detector)

    def forward(inputs: Mapping[str, torch.Tensor]) -> dict[str, Any]:
        outputs = run({f"{TOWER}/{name}": array for name, array in inputs.items()})
        return {"outputs": ModelOutput(logits=outputs["logits"], pred_boxes=outputs["pred_boxes"])}

    detector.forward = forward
    model._modules = {"towers": nn.ModuleDict({TOWER: detector})}
    return replace(assembly, built=replace(assembly.built, model=model))
