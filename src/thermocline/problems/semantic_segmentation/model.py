"""The model of semantic segmentation: one tower, which is a whole segmenter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from thermocline.inputs.image.grey import Range
from thermocline.problems.semantic_segmentation.segmenter import Segmenter
from thermocline.problems.semantic_segmentation.segmenter_layers import TOWER


class SegmentationModel(nn.Module):
    """A model whose only tower is a whole segmenter, and which has no head of its own.

    Args:
        segmenter: The segmenter.

    Attributes:
        grey: The range that values of images of more than 8 bits are scaled by, or None.
    """

    grey: Range | None = None

    def __init__(self, segmenter: Segmenter) -> None:
        super().__init__()
        self.towers = nn.ModuleDict({TOWER: segmenter})
        self.widths: dict[str, int] = {}

    @property
    def segmenter(self) -> Segmenter:
        """The segmenter."""
        segmenter = self.towers[TOWER]
        assert isinstance(segmenter, Segmenter)
        return segmenter

    def forward(self, batch: Mapping[str, Any]) -> torch.Tensor:
        """Return logits float `(rows, classes, h', w')` of the segmenter's own grid."""
        logits: torch.Tensor = self.towers[TOWER](batch[TOWER])
        return logits


def resized_logits(logits: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Return logits `(rows, classes, *size)` float32, bilinear between the places of the grid."""
    return F.interpolate(logits.float(), size=size, mode="bilinear", align_corners=False)
