"""The detector: any model of transformers' AutoModelForObjectDetection, with losses and boxes from the library."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from thermocline.contracts.tower import Tower
from thermocline.errors import ConfigError
from thermocline.problems.object_detection.box_spec import DetectionSpec
from thermocline.problems.object_detection.rows import targets as targets_of


@dataclass(frozen=True)
class Building:
    """How a detector was built, so that it can be built again for saved weights.

    Attributes:
        timm: The feature network that took the place of the detector's own, if one did.
        thawed: Whether its frozen BatchNorms became BatchNorms.
    """

    timm: dict[str, Any] | None = None
    thawed: bool = False


class Detector(Tower):
    """A detector with its preprocessing and its classes.

    Args:
        model: A model of transformers' mapping for object detection.
        spec: The preprocessing; pixels arrive as uint8 and are normalised here.
        processor: The class of transformers that turns the family's raw outputs into boxes.
        classes: The classes, in the order of the model's outputs.
        pretrained: Whether any weights come from a checkpoint.
        fresh: Names of parameters of `model` that start at random although others are pretrained.
        building: How it was built.

    Attributes:
        notes: What was changed that a user should know of.
    """

    def __init__(
        self,
        model: nn.Module,
        spec: DetectionSpec,
        classes: Sequence[Any],
        *,
        processor: str,
        pretrained: bool,
        fresh: frozenset[str] = frozenset(),
        building: Building = Building(),
    ) -> None:
        super().__init__()
        self.model = model
        self.spec = spec
        self.processor = processor
        self.classes = tuple(classes)
        self.pretrained = pretrained
        self.fresh = fresh
        self.building = building
        self.notes: tuple[str, ...] = ()
        parameters = inspect.signature(model.forward).parameters
        self._masked = "pixel_mask" in parameters
        self.mean: torch.Tensor
        self.std: torch.Tensor
        self.register_buffer("mean", torch.tensor(spec.mean).view(1, 3, 1, 1) * 255, persistent=False)
        self.register_buffer("std", torch.tensor(spec.std).view(1, 3, 1, 1) * 255, persistent=False)
        self._processor: Any = None

    def forward(self, batch: Mapping[str, Any], *, step_boxes: int | None = None) -> dict[str, Any]:  # type: ignore[override]
        """Run the detector, and compute its loss where there are targets.

        Args:
            batch: As `DetectionRows.batch` makes it, as tensors: `pixels` uint8 `(images, 3, height, width)`, `mask`
                `(images, height, width)`, 1 where there is an image and 0 where there is padding (may be left out),
                and where it is to learn `counts`, `labels` and `boxes`; or in their place `targets`, a mapping for
                each image with `class_labels` int64 `(boxes,)` and `boxes` float `(boxes, 4)`: centre, width and
                height as shares.
            step_boxes: Boxes in all micro-batches of the optimizer step. The library divides a loss by the boxes
                of what it sees; with this the losses of micro-batches add up to that of the whole step. (Exactly
                so for what is divided by boxes; the class loss of DETR, YOLOS and Table Transformer is a weighted
                mean of its own, and the groups of denoising queries depend on the fullest image seen.)

        Returns:
            `outputs` as the library gives them (`logits`, `pred_boxes`, …), and with targets `loss` (a scalar)
            and `losses`, its parts before they are weighted.
        """
        pixels, mask = batch["pixels"], batch.get("mask")
        values = (pixels.to(self.mean.dtype) - self.mean) / self.std
        arguments: dict[str, Any] = {}
        if mask is not None:
            values = values * mask[:, None].to(values.dtype)
            if self._masked:
                arguments["pixel_mask"] = mask.to(torch.int64)
        targets = batch.get("targets")
        if targets is None and "counts" in batch:
            targets = targets_of(batch)
        if targets is None:
            return {"outputs": self.model(pixel_values=values, **arguments)}
        labels = [{key: value.to(values.device) for key, value in target.items()} for target in targets]
        outputs = self.model(pixel_values=values, labels=labels, **arguments)
        if getattr(outputs, "loss", None) is None:
            raise ConfigError(f"{type(self.model).__name__} computes no loss in transformers, so it cannot be trained.")
        loss = outputs.loss
        if step_boxes is not None:
            loss = loss * (max(boxes_in(targets), 1) / max(step_boxes, 1))
        return {"loss": loss, "losses": getattr(outputs, "loss_dict", None) or {}, "outputs": outputs}

    @torch.no_grad()
    def decode(
        self,
        outputs: Any,
        sizes: Sequence[Sequence[int]] | torch.Tensor,
        *,
        scale: torch.Tensor | None = None,
        threshold: float = 0.0,
        most: int = 100,
    ) -> list[list[dict[str, Any]]]:
        """Turn raw outputs into boxes, by the family's own rule (softmax with "no object", or sigmoid).

        Args:
            outputs: `forward(…)["outputs"]`.
            sizes: Height and width of each image in its own pixels, `(images, 2)`.
            scale: Width and height in those pixels that the share 1 of a box stands for, `(images, 2)`; by default
                those of the image. A batch tells both.
            threshold: The least score.
            most: The most boxes an image.

        Returns:
            Per image its detections, the surest first: `label` (a class), `score` (0 to 1) and `box`
            (x1, y1, x2, y2 in the image's pixels, cut to it; those of no area are left out).
        """
        rule = self._reader().post_process_object_detection
        extra = {"top_k": most} if "top_k" in inspect.signature(rule).parameters else {}
        limits = torch.as_tensor(sizes, device=outputs.logits.device).float()
        stand_for = limits if scale is None else scale.to(limits.device).float().flip(1)
        found = rule(_in_float(outputs), threshold=threshold, target_sizes=stand_for, **extra)
        return [self._boxes(one, limit, most) for one, limit in zip(found, limits, strict=True)]

    def _reader(self) -> Any:
        import transformers

        if self._processor is None:
            self._processor = getattr(transformers, self.processor)()
        return self._processor

    def _boxes(self, found: Mapping[str, torch.Tensor], size: torch.Tensor, most: int) -> list[dict[str, Any]]:
        order = found["scores"].argsort(descending=True, stable=True)
        boxes = found["boxes"][order].clamp(min=0).minimum(size.flip(0).repeat(2))
        some = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
        some &= found["labels"][order] < len(self.classes)  # a softmax over more outputs than there are classes
        order, boxes = order[some][:most], boxes[some][:most]
        rows = zip(found["labels"][order].tolist(), found["scores"][order].tolist(), boxes.tolist(), strict=True)
        return [{"label": self.classes[label], "score": score, "box": box} for label, score, box in rows]


def boxes_in(targets: Sequence[Mapping[str, torch.Tensor]]) -> int:
    """Return the number of boxes in targets."""
    return sum(len(target["class_labels"]) for target in targets)


def _in_float(outputs: Any) -> Any:
    """The outputs in single precision, as scores are compared."""
    out = copy.copy(outputs)
    out["logits"], out["pred_boxes"] = outputs.logits.float(), outputs.pred_boxes.float()
    return out
