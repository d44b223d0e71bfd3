"""The model of a detection: one tower, which is a whole detector."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from thermocline.problems.object_detection.detector import Detector

TOWER = "detector"


class DetectionModel(nn.Module):
    """A detector where other models have towers and a head.

    Args:
        detector: The detector.
    """

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.towers = nn.ModuleDict({TOWER: detector})
        self.widths: dict[str, int] = {}

    @property
    def detector(self) -> Detector:
        """The detector."""
        detector = self.towers[TOWER]
        assert isinstance(detector, Detector)
        return detector

    def forward(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Return what the detector gives for its part of a batch: `outputs`, and its `loss` where there are boxes."""
        given: dict[str, Any] = self.towers[TOWER](batch[TOWER])
        return given

    def find(self, batch: Mapping[str, Any], *, threshold: float, most: int) -> list[list[dict[str, Any]]]:
        """Return for each image of a batch the boxes found in it; see `Detector.decode`."""
        own: Mapping[str, torch.Tensor] = batch[TOWER]
        seen = {key: value for key, value in own.items() if key in ("pixels", "mask")}
        outputs = self.towers[TOWER](seen)["outputs"]
        return self.detector.decode(outputs, own["sizes"], scale=own["scale"], threshold=threshold, most=most)
