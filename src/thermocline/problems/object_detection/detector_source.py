"""Where a detector comes from: its name resolved to a folder, a hub id or an architecture; nothing is built."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from thermocline.backbones.hub_names import meant_detector
from thermocline.backbones.pretrained import Source, find_image
from thermocline.errors import CheckpointError, listing

_HGNET_B0: dict[str, Any] = {
    "model_type": "hgnet_v2",
    "stem_channels": [3, 16, 16],
    "stage_in_channels": [16, 64, 256, 512],
    "stage_mid_channels": [16, 32, 64, 128],
    "stage_out_channels": [64, 256, 512, 1024],
    "stage_num_blocks": [1, 1, 2, 1],
    "stage_numb_of_layers": [3, 3, 3, 3],
    "hidden_sizes": [64, 256, 512, 1024],
    "use_learnable_affine_block": True,
    "out_indices": [2, 3, 4],
}
_RESNET_18: dict[str, Any] = {
    "model_type": "rt_detr_resnet",
    "embedding_size": 64,
    "hidden_sizes": [64, 128, 256, 512],
    "depths": [2, 2, 2, 2],
    "layer_type": "basic",
    "out_indices": [2, 3, 4],
}
# The architectures of the presets' hub checkpoints, so that `pretrained=false` needs no hub (sizes from the papers).
DETECTORS: dict[str, tuple[str, dict[str, Any]]] = {
    "ustc-community/dfine-small-coco": (
        "d_fine",
        {
            "backbone_config": _HGNET_B0,
            "encoder_in_channels": [256, 512, 1024],
            "hidden_expansion": 0.5,
            "depth_mult": 0.34,
            "decoder_layers": 3,
        },
    ),
    "ustc-community/dfine-large-coco": ("d_fine", {}),
    "PekingU/rtdetr_v2_r18vd": (
        "rt_detr_v2",
        {
            "backbone_config": _RESNET_18,
            "encoder_in_channels": [128, 256, 512],
            "hidden_expansion": 0.5,
            "decoder_layers": 3,
        },
    ),
    "PekingU/rtdetr_v2_r50vd": ("rt_detr_v2", {}),
    "PekingU/rtdetr_r50vd": ("rt_detr", {}),
    "facebook/detr-resnet-50": ("detr", {}),
}


def detector_types() -> tuple[str, ...]:
    """Return the model types that transformers builds as object detectors."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_OBJECT_DETECTION_MAPPING_NAMES

    return tuple(MODEL_FOR_OBJECT_DETECTION_MAPPING_NAMES)


def find_detector(name: str, *, pretrained: bool) -> Source:
    """Find a detector; nothing is downloaded yet.

    Args:
        name: A folder, a model type of transformers (`rt_detr`, only with `pretrained=False`), or a hub id.
        pretrained: Whether its weights are loaded.

    Raises:
        CheckpointError: There is no such folder or type, or it holds no weights.
    """
    if Path(name).is_dir() or name.startswith((".", "/", "~")):
        source = find_image(name, pretrained=pretrained)
        if source.library != "transformers":
            raise CheckpointError(
                f"The folder {name!r} holds a timm model, which is a backbone and no detector. Name it as "
                "`model.detector.backbone`, and a detector's type such as 'rt_detr' as `model.detector.checkpoint`."
            )
        return source
    types = detector_types()
    if name in types:
        if pretrained:
            raise CheckpointError(
                f"{name!r} is an architecture of transformers, not a checkpoint. Name a folder or a hub id, or set "
                "`model.detector.pretrained=false` to train it from random weights."
            )
        return Source("transformers", "architecture", name, name, pretrained=False)
    if "/" not in name:
        raise CheckpointError(
            f"There is no detector {name!r}: not a folder, not a type that transformers builds, and a hub id reads "
            f"owner/name.{meant_detector(name, [*types, *DETECTORS])} Types are {listing(types, limit=30)}."
        )
    kind = "architecture" if not pretrained and name in DETECTORS else "hub"
    return Source("transformers", kind, name, name, pretrained)  # type: ignore[arg-type]


def architecture(source: Source) -> tuple[str, dict[str, Any]]:
    """Return the model type and the settings of a source of kind `architecture`."""
    kind, settings = DETECTORS.get(source.location, (source.location, {}))
    return kind, copy.deepcopy(settings)
