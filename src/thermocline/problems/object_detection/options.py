"""Options of object detection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from thermocline.config.option import TOWER_FROZEN_LAYERS, Augment, FrozenLayers, option

HeadPart: TypeAlias = Literal["neck", "encoder", "decoder", "head"]
BoxFormat: TypeAlias = Literal["xyxy", "xywh"]
BadBoxes: TypeAlias = Literal["error", "drop"]


@dataclass(frozen=True)
class DetectorOptions:
    """The detector: section `model.detector`."""

    checkpoint: str = option(
        "ustc-community/dfine-small-coco",
        "A hub name, a local folder, or a detector type of transformers such as `rt_detr`.",
    )
    pretrained: bool = option(True, "Start from the checkpoint's weights; false keeps its shape only.")
    backbone: str | None = option(
        None,
        "An image backbone for a fresh detector: a local folder or a timm name; null: its own.",
        example="resnet18",
    )
    backbone_pretrained: bool = option(
        True,
        "Start that backbone from its weights; false keeps its shape only.",
        not_with={"model.detector.backbone": None},
    )
    size: int | None = option(
        None, "Side of the input in pixels; null: the checkpoint's own.", at_least=32, at_most=4096, example=640
    )
    queries: int | None = option(
        None, "Most boxes predicted an image; null: the checkpoint's own.", at_least=1, at_most=10_000, example=100
    )
    augment: Augment = option("standard", "How strongly training images and boxes are augmented; none: not at all.")
    head_includes: tuple[HeadPart, ...] = option(
        ("neck", "head"), "Parts that count as newly initialised, so that they take the head's rate."
    )
    thaw: bool = option(False, "Unfreeze what the detector builds frozen, such as DETR's BatchNorm.")
    score_threshold: float = option(
        0.05, "Least score of a box that `predict` returns.", at_least=0, below=1, varies=False
    )
    max_boxes: int = option(
        100, "Most boxes an image that `predict` returns.", at_least=1, at_most=1_000_000, varies=False
    )
    frozen_layers: FrozenLayers = option(None, TOWER_FROZEN_LAYERS, example="backbone")


@dataclass(frozen=True)
class BoxOptions:
    """How boxes are read: part of section `data`."""

    box_format: BoxFormat = option(
        "xyxy", "What the numbers of a box are: its four edges, or left, upper, width, height (xywh).", varies=False
    )
    bad_boxes: BadBoxes = option(
        "error",
        "Boxes that are inverted, empty, not finite or outside their image: an error, or left out.",
        varies=False,
    )
