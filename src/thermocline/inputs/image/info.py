"""Image input, described without importing it."""

from __future__ import annotations

from thermocline.inputs.image.options import ImageOptions
from thermocline.registry import InputInfo

INFO = InputInfo(
    name="image",
    implementation="thermocline.inputs.image.kind:ImageInput",
    column_types=("image",),
    has_backbone=True,
    options={"model.image": ImageOptions},
    reads=frozenset(
        {
            "data.image_folder",
            "data.max_unreadable_images",
            "env.cache_images",
            "env.compile",
            "model.conv_bn",
            "optim.cutmix",
        }
    ),
    size_options={"model.image.size": (32, 32)},
    free_options=frozenset(
        {
            "model.image.augment",
            "model.image.augment_views",
            "model.image.batch_norm",
            "model.image.frozen_layers",
        }
    ),
)
