"""Every model of transformers' mapping for semantic segmentation, as small as its class allows, with random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import CONFIG_MAPPING, AutoModelForSemanticSegmentation, PretrainedConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING_NAMES

TYPES = tuple(MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING_NAMES)
SIDE = 64
CLASSES = ("road", "sky", "tree")

_VIT: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "image_size": SIDE,
    "patch_size": 16,
}
_BEIT = {**_VIT, "out_indices": [1, 2, 3, 4], "pool_scales": [1, 2], "use_relative_position_bias": True}
_SETTINGS: dict[str, dict[str, Any]] = {
    "beit": _BEIT,
    "data2vec-vision": _BEIT,
    "dpt": {
        **_VIT,
        "backbone_out_indices": [0, 1, 2, 3],
        "neck_hidden_sizes": [8, 12, 16, 24],
        "fusion_hidden_size": 16,
    },
    "mobilenet_v2": {"depth_multiplier": 0.25, "min_depth": 8, "image_size": SIDE},
    "mobilevit": {
        "hidden_sizes": [16, 24, 32],
        "neck_hidden_sizes": [8, 8, 16, 24, 32, 40, 64],
        "num_attention_heads": 2,
        "mlp_ratio": 1.0,
        "aspp_out_channels": 16,
        "image_size": SIDE,
    },
    "mobilevitv2": {"width_multiplier": 0.25, "aspp_out_channels": 16, "image_size": SIDE},
    "sapiens2": {
        **_VIT,
        "head_config": {"upsample_out_channels": [16, 16], "conv_out_channels": [16]},
        "num_key_value_attention_heads": 2,
    },
    "segformer": {
        "depths": [1, 1, 1, 1],
        "hidden_sizes": [8, 16, 24, 32],
        "num_attention_heads": [1, 2, 2, 4],
        "decoder_hidden_size": 16,
    },
    "tipsv2_dpt": {
        "backbone_config": {
            **_VIT,
            "model_type": "tipsv2_vision_model",
            "out_indices": [1, 2, 3, 4],
            "reshape_hidden_states": False,
        },
        "neck_hidden_sizes": [8, 12, 16, 24],
        "fusion_hidden_size": 16,
    },
    "upernet": {
        "hidden_size": 16,
        "pool_scales": [1, 2],
        "backbone_config": {
            "model_type": "resnet",
            "embedding_size": 8,
            "hidden_sizes": [8, 12, 16, 24],
            "depths": [1, 1, 1, 1],
            "layer_type": "basic",
            "out_features": ["stage1", "stage2", "stage3", "stage4"],
        },
    },
}


def config_of(kind: str, classes: tuple[str, ...] = CLASSES, **changes: Any) -> PretrainedConfig:
    made = CONFIG_MAPPING[kind](**{**_SETTINGS.get(kind, {}), **changes})
    made.id2label = dict(enumerate(classes))
    made.label2id = {name: number for number, name in enumerate(classes)}
    return made


def segmenter_of(kind: str, classes: tuple[str, ...] = CLASSES, **changes: Any) -> nn.Module:
    return AutoModelForSemanticSegmentation.from_config(config_of(kind, classes, **changes))


def saved(kind: str, folder: Path, classes: tuple[str, ...] = CLASSES, **changes: Any) -> Path:
    """A checkpoint of a small segmenter."""
    torch.manual_seed(0)
    made: Any = segmenter_of(kind, classes, **changes)
    made.save_pretrained(str(folder))
    return folder
