"""Options of semantic segmentation that shape the model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from thermocline.config.option import TOWER_FROZEN_LAYERS, Augment, FrozenLayers, option

LIGHT = "light"
"""The checkpoint that is no checkpoint: the head of this package on an image backbone."""
DEFAULT_BACKBONE = "mobilenetv4_conv_medium.e500_r256_in1k"
"""The backbone of the light head where none is named."""

SegmenterPart: TypeAlias = Literal["neck", "head"]


@dataclass(frozen=True)
class SegmenterOptions:
    """The segmenter: section `model.segmenter`."""

    checkpoint: str = option(
        LIGHT,
        "`light`: our own head on `backbone`; a hub name, a folder, or a type such as `segformer`.",
    )
    pretrained: bool = option(
        True,
        "Start from the checkpoint's weights; false keeps its shape only.",
        not_with={"model.segmenter.checkpoint": LIGHT},
    )
    backbone: str | None = option(
        None,
        "Image backbone of the light head, or of a fresh `upernet`: a local folder or a timm name.",
        example="resnet18",
    )
    backbone_pretrained: bool = option(True, "Start that backbone from its weights; false keeps its shape only.")
    size: int | None = option(
        None,
        "Longer side of the input in pixels; null: about that of the training images, at most 512.",
        at_least=32,
        at_most=4096,
        example=512,
    )
    head_width: int = option(
        64,
        "Channels of the light head.",
        at_least=8,
        at_most=2048,
        only_with={"model.segmenter.checkpoint": LIGHT},
    )
    head_includes: tuple[SegmenterPart, ...] = option(
        ("neck", "head"), "Parts that count as newly initialised, so that they take the head's rate."
    )
    class_balance: float = option(
        0.5,
        "How much rare classes count: a pixel weighs (share of its class) ** -this; 0: all pixels alike.",
        at_least=0,
        at_most=2,
    )
    augment: Augment = option("standard", "How strongly training images and masks are augmented; none: not at all.")
    frozen_layers: FrozenLayers = option(None, TOWER_FROZEN_LAYERS, example="backbone")
