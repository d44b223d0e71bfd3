"""Options of image input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from thermocline.config.option import TOWER_FROZEN_LAYERS, Augment, FrozenLayers, option

BatchNorm: TypeAlias = Literal["auto", "eval", "train"]


@dataclass(frozen=True)
class ImageOptions:
    """The image tower: section `model.image`."""

    checkpoint: str = option(
        "mobilenetv4_conv_medium.e500_r256_in1k", "A timm name, a transformers vision model, or a local folder."
    )
    pretrained: bool = option(True, "Start from the checkpoint's weights; false keeps its shape only.")
    size: int | None = option(
        None, "Side of the input in pixels; null: the model's own.", at_least=16, at_most=4096, example=224
    )
    augment: Augment | str = option(
        "light",
        "How strongly training images are varied; none: not at all.",
        own="a transform of torchvision v2 or albumentations, or a function of an image",
    )
    augment_views: int | None = option(
        None,
        "Variants of each training image, chosen by seed and epoch; null: a new one every epoch.",
        at_least=1,
        at_most=10_000,
        not_with={"model.image.augment": "none"},
        example=4,
    )
    random_erasing: float = option(
        0.0,
        "Share of training images in which a rectangle is erased.",
        at_least=0,
        at_most=1,
        not_with={"model.image.augment": "none"},
        example=0.25,
    )
    drop_path: float | None = option(
        None,
        "Highest share of images for which a block is skipped in training; null: as built.",
        at_least=0,
        below=1,
        example=0.1,
    )
    batch_norm: BatchNorm = option(
        "auto", "BatchNorm statistics while training; auto: eval when pretrained, else train."
    )
    frozen_layers: FrozenLayers = option(None, TOWER_FROZEN_LAYERS, example="stem")
