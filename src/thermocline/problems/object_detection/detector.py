"""The detector: any model of transformers' AutoModelForObjectDetection, with losses and boxes from the library."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from thermocline.contracts.tower import ROW, Tower
from thermocline.errors import ConfigError
from thermocline.problems.object_detection.box_spec import DetectionSpec
from thermocline.problems.object_detection.rows import targets


@dataclass(frozen=True)
class DetectorOrigin:
    """Where a detector comes from, so that it can be built again for saved weights.

    Attributes:
        processor: The class of transformers that turns the family's raw outputs into boxes.
        pretrained: Whether any weights come from a checkpoint.
        fresh: Names of parameters of the model that start at random although others are pretrained.
        timm: What timm built the backbone from, where one of timm is in place of the detector's own.
        unfrozen: Whether the BatchNorms that the detector builds as constants became BatchNorms.
        notes: What was changed that a user should know of.
    """

    processor: str
    pretrained: bool
    fresh: frozenset[str] = frozenset()
    timm: Mapping[str, Any] | None = None
    unfrozen: bool = False
    notes: tuple[str, ...] = ()


class Detector(Tower):
    """A detector with its preprocessing and its classes. It gives boxes, and no features for a head.

    Args:
        model: A model of transformers' mapping for object detection.
        spec: The preprocessing; pixels arrive as uint8 and are normalised here.
        classes: The classes, in the order of the model's outputs.
        origin: Where it comes from.

    Attributes:
        fresh: Names of parameters of `model` that start at random although others are pretrained.
        notes: What was changed that a user should know of.
    """

    def __init__(self, model: nn.Module, spec: DetectionSpec, classes: Sequence[Any], origin: DetectorOrigin) -> None:
        super().__init__()
        self.model = model
        self.spec = spec
        self.classes = tuple(classes)
        self.origin = origin
        self.pretrained, self.fresh, self.notes = origin.pretrained, origin.fresh, origin.notes
        self._takes_mask = takes_mask(model)
        self.mean: torch.Tensor
        self.std: torch.Tensor
        self.register_buffer("mean", torch.tensor(spec.mean).view(1, 3, 1, 1) * 255, persistent=False)
        self.register_buffer("std", torch.tensor(spec.std).view(1, 3, 1, 1) * 255, persistent=False)
        self._processor: Any = None
        self.channels_last_on = frozenset({"cuda"})  # where convolutions are faster so; elsewhere no bit changes

    @property
    def grains(self) -> frozenset[str]:
        """Empty: boxes are no features."""
        return frozenset()

    @property
    def library_module(self) -> nn.Module:
        """The detector of transformers."""
        return self.model

    def forward(self, inputs: Mapping[str, Any], *, grain: str = ROW) -> dict[str, Any]:
        """Run the detector, and compute its loss where there are boxes.

        Args:
            inputs: As `DetectionRows.batch` makes it, as tensors: `pixels` uint8 `(images, 3, height, width)`; `mask`
                `(images, height, width)`, 1 where there is an image and 0 where there is padding (may be left out);
                and for training `counts`, `labels` and `boxes`.
            grain: Not read.

        Returns:
            `outputs` as the library gives them (`logits`, `pred_boxes`, …), and with boxes `loss` (a scalar).

        Raises:
            ConfigError: There are boxes, and the model computes no loss.
        """
        del grain
        pixels, mask = inputs["pixels"], inputs.get("mask")
        values = (pixels.to(self.mean.dtype) - self.mean) / self.std
        arguments: dict[str, Any] = {}
        if mask is not None:
            values = values * mask[:, None].to(values.dtype)
            if self._takes_mask:
                arguments["pixel_mask"] = mask.to(torch.int64)
        if values.device.type in self.channels_last_on:
            values = values.contiguous(memory_format=torch.channels_last)
        if "counts" not in inputs:
            return {"outputs": self.model(pixel_values=values, **arguments)}
        outputs = self.model(pixel_values=values, labels=targets(inputs), **arguments)
        if getattr(outputs, "loss", None) is None:
            raise ConfigError(f"{type(self.model).__name__} computes no loss in transformers, so it cannot be trained.")
        return {"loss": outputs.loss, "outputs": outputs}

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
            scale: Width and height in those pixels that the share 1 of a box means, `(images, 2)`; by default
                those of the image. Both are in a batch.
            threshold: The least score.
            most: The most boxes an image.

        Returns:
            Per image its detections, highest score first: `label` (a class), `score` (0 to 1) and `box`
            (x1, y1, x2, y2 in the image's pixels, cut to it; those of no area are left out).
        """
        rule = self._loaded_processor().post_process_object_detection
        extra = {"top_k": most} if "top_k" in inspect.signature(rule).parameters else {}
        limits = torch.as_tensor(sizes, device=outputs.logits.device).float()
        unit = limits if scale is None else scale.to(limits.device).float().flip(1)
        found = rule(_in_single_precision(outputs), threshold=threshold, target_sizes=unit, **extra)
        return [self._boxes(one, limit, most) for one, limit in zip(found, limits, strict=True)]

    def _loaded_processor(self) -> Any:
        import transformers

        if self._processor is None:
            self._processor = getattr(transformers, self.origin.processor)()
        return self._processor

    def _boxes(self, found: Mapping[str, torch.Tensor], size: torch.Tensor, most: int) -> list[dict[str, Any]]:
        order = found["scores"].argsort(descending=True, stable=True)
        boxes = found["boxes"][order].clamp(min=0).minimum(size.flip(0).repeat(2))
        usable = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
        usable &= found["labels"][order] < len(self.classes)  # a softmax over more outputs than there are classes
        order, boxes = order[usable][:most], boxes[usable][:most]
        rows = zip(found["labels"][order].tolist(), found["scores"][order].tolist(), boxes.tolist(), strict=True)
        return [{"label": self.classes[label], "score": score, "box": box} for label, score, box in rows]


def takes_mask(model: nn.Module | type[nn.Module]) -> bool:
    """Whether a model, or those of a class, are told what is padding."""
    return "pixel_mask" in inspect.signature(model.forward).parameters


def _in_single_precision(outputs: Any) -> Any:
    """Return the outputs in float32: scores are compared."""
    out = copy.copy(outputs)
    out["logits"], out["pred_boxes"] = outputs.logits.float(), outputs.pred_boxes.float()
    return out
