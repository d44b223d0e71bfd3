"""The model of object detection: one tower, which is a whole detector; how it is built, and its layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from thermocline.backbones import pretrained
from thermocline.errors import CheckpointError
from thermocline.problems.object_detection.detector import Detector
from thermocline.problems.object_detection.detector_build import build_detector
from thermocline.problems.object_detection.detector_config import DetectorSettings
from thermocline.problems.object_detection.detector_source import find_detector
from thermocline.problems.object_detection.options import DetectorOptions
from thermocline.tuning.layers.layer_map import LayerMap

TOWER = "detector"


class DetectionModel(nn.Module):
    """A model whose only tower is a whole detector, and which has no head of its own.

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
        """Return the detector's outputs for its part of a batch: `outputs`, and its `loss` where there are boxes."""
        given: dict[str, Any] = self.towers[TOWER](batch[TOWER])
        return given

    def find(self, batch: Mapping[str, Any], *, threshold: float, most: int) -> list[list[dict[str, Any]]]:
        """Return for each image of a batch the boxes found in it; see `Detector.decode`."""
        own: Mapping[str, torch.Tensor] = batch[TOWER]
        seen = {key: value for key, value in own.items() if key in ("pixels", "mask")}
        outputs = self.towers[TOWER](seen)["outputs"]
        return self.detector.decode(outputs, own["sizes"], scale=own["scale"], threshold=threshold, most=most)


def find_sources(options: DetectorOptions) -> tuple[pretrained.Source, pretrained.Source | None]:
    """Find the detector, and the backbone in place of its own; nothing is loaded.

    Raises:
        CheckpointError: There is no such detector or backbone.
    """
    try:
        source = find_detector(options.checkpoint, pretrained=options.pretrained)
    except CheckpointError as error:
        raise CheckpointError(f"model.detector.checkpoint: {error}") from error
    if options.backbone is None:
        return source, None
    try:
        return source, pretrained.find_image(options.backbone, pretrained=options.backbone_pretrained)
    except CheckpointError as error:
        raise CheckpointError(f"model.detector.backbone: {error}") from error


def detector_of(options: DetectorOptions, classes: Sequence[Any]) -> Detector:
    """Build the detector that the options ask for; random weights are drawn from torch's generator.

    Raises:
        CheckpointError: Pretrained weights cannot be loaded.
        ConfigError: It does not run at this size, or an option does not fit it.
    """
    source, backbone = find_sources(options)
    return build_detector(
        source,
        pretrained.folder_of(source, "model.detector"),
        classes,
        DetectorSettings(size=options.size, queries=options.queries, unfreeze=options.thaw),
        backbone=backbone,
        backbone_folder=None if backbone is None else pretrained.folder_of(backbone, "model.detector.backbone"),
    )


def layers_of(detector: Detector, head_includes: Sequence[str]) -> LayerMap:
    """Return the layers of a detector, backbone first.

    Args:
        detector: The detector.
        head_includes: The parts that count as newly initialised.
    """
    found = LayerMap.of(
        detector.model,
        tower=TOWER,
        pretrained=detector.pretrained,
        fresh=detector.fresh,
        fresh_parts=head_includes,
    )
    return LayerMap.join({f"towers.{TOWER}.model": found})
