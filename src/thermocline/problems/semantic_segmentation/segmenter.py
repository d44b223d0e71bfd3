"""The segmenter: a model that gives a class for every pixel, with its preprocessing and its classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from thermocline.contracts.tower import ROW, Tower
from thermocline.problems.semantic_segmentation.segmenter_spec import SegmentationSpec


@dataclass(frozen=True)
class SegmenterOrigin:
    """Where a segmenter comes from, so that it can be built again for saved weights.

    Attributes:
        pretrained: Whether any weights come from a checkpoint.
        fresh: Names of parameters of the model that start at random although others are pretrained.
        light: What the light segmenter was built from (`light_build`), or None for a model of transformers.
        network: What timm built the backbone of a model of transformers from, where it was put in; else None.
        notes: What was changed that a user should know of.
    """

    pretrained: bool
    fresh: frozenset[str] = frozenset()
    light: Mapping[str, Any] | None = None
    network: Mapping[str, Any] | None = field(default=None)
    notes: tuple[str, ...] = ()


class Segmenter(Tower):
    """A segmenter. It gives scores of classes for every place, and no features for a head.

    Args:
        model: A light segmenter, or a model of transformers' mapping for semantic segmentation.
        spec: The preprocessing; pixels arrive as uint8 and are normalised here.
        classes: The classes, in the order of the model's outputs.
        origin: Where it comes from.

    Attributes:
        fresh: Names of parameters of `model` that start at random although others are pretrained.
        notes: What was changed that a user should know of.
    """

    def __init__(
        self, model: nn.Module, spec: SegmentationSpec, classes: Sequence[Any], origin: SegmenterOrigin
    ) -> None:
        super().__init__()
        self.model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.spec, self.origin = spec, origin
        self.classes = tuple(classes)
        self.pretrained, self.fresh, self.notes = origin.pretrained, origin.fresh, origin.notes
        self.norm_eval = origin.pretrained and origin.light is not None  # its neck and head have GroupNorm
        self.mean: torch.Tensor
        self.std: torch.Tensor
        self.register_buffer("mean", torch.tensor(spec.mean).view(1, 3, 1, 1) * 255, persistent=False)
        self.register_buffer("std", torch.tensor(spec.std).view(1, 3, 1, 1) * 255, persistent=False)

    @property
    def grains(self) -> frozenset[str]:
        """Empty: scores of classes are no features."""
        return frozenset()

    @property
    def backbone_module(self) -> nn.Module:
        """The whole model: `env.compile` compiles it."""
        return self.model

    @property
    def library_module(self) -> nn.Module | None:
        """The model of transformers, or None for a light segmenter, which no library knows."""
        return self.model if self.origin.light is None else None

    def conv_example(self) -> tuple[nn.Module, torch.Tensor] | None:
        """Return the model and two images on the meta device, float `(2, 3, h, w)`."""
        return self.model, torch.empty(2, 3, *self.spec.size, device="meta")

    def forward(self, inputs: Mapping[str, Any] | torch.Tensor, *, grain: str = ROW) -> torch.Tensor:
        """Return the scores of every class at every place of the model's own grid.

        Args:
            inputs: Images, uint8 `(images, 3, height, width)`, or a mapping with them as `pixels`.
            grain: Not read.

        Returns:
            Float logits `(images, classes, h', w')`.
        """
        del grain
        pixels = inputs if isinstance(inputs, torch.Tensor) else inputs["pixels"]
        if self.spec.flipped:
            pixels = pixels.flip(1)
        values = (pixels.to(self.mean.dtype) - self.mean) / self.std
        out = self.model(pixel_values=values.contiguous(memory_format=torch.channels_last))
        logits: torch.Tensor = out if isinstance(out, torch.Tensor) else out.logits
        return logits
