"""The layers of a segmenter: backbone, neck and head, in the order in which they run."""

from __future__ import annotations

import torch

from thermocline.problems.semantic_segmentation.options import SegmenterOptions
from thermocline.problems.semantic_segmentation.segmenter import Segmenter
from thermocline.tuning.layers.layer_map import LayerMap

TOWER = "segmenter"


def layers_of(segmenter: Segmenter, options: SegmenterOptions) -> LayerMap:
    """Return the layers of a segmenter as `towers.segmenter` of a model, backbone first.

    Args:
        segmenter: The segmenter.
        options: Which parts count as newly initialised (`head_includes`).
    """
    height, width = segmenter.spec.size
    found = LayerMap.of(
        segmenter.model,
        example={"pixel_values": torch.zeros(2, 3, height, width)},
        tower=TOWER,
        pretrained=segmenter.pretrained,
        fresh=segmenter.fresh,
        fresh_parts=options.head_includes,
    )
    return LayerMap.join({f"towers.{TOWER}.model": found})
