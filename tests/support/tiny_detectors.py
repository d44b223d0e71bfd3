"""Every detector of transformers' mapping, as small as its class allows, with random weights and no network."""

from __future__ import annotations

from typing import Any

from torch import nn
from transformers import CONFIG_MAPPING, AutoModelForObjectDetection, PretrainedConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_OBJECT_DETECTION_MAPPING_NAMES

TYPES = tuple(MODEL_FOR_OBJECT_DETECTION_MAPPING_NAMES)
#: Those whose forward pass gives a loss.
TRAINABLE = (
    "conditional_detr",
    "d_fine",
    "dab-detr",
    "deformable_detr",
    "deimv2",
    "detr",
    "lw_detr",
    "rf_detr",
    "rt_detr",
    "rt_detr_v2",
    "table-transformer",
    "yolos",
)
SIDE = 64

_TRANSFORMER: dict[str, Any] = {
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "num_queries": 10,
}
_REAL_TIME: dict[str, Any] = {
    "d_model": 32,
    "encoder_hidden_dim": 32,
    "encoder_in_channels": [16, 24, 32],
    "encoder_ffn_dim": 48,
    "encoder_attention_heads": 4,
    "decoder_in_channels": [32, 32, 32],
    "decoder_ffn_dim": 48,
    "decoder_attention_heads": 4,
    "decoder_layers": 2,
    "num_queries": 12,
    "num_denoising": 8,
}
_VIT: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "image_size": SIDE,
    "patch_size": 8,
    "num_windows": 4,
    "out_indices": [2, 4],
}
_WITH_GROUPS: dict[str, Any] = {
    "d_model": 32,
    "decoder_layers": 2,
    "decoder_ffn_dim": 48,
    "decoder_self_attention_heads": 2,
    "decoder_cross_attention_heads": 4,
    "decoder_n_points": 2,
    "num_queries": 8,
    "group_detr": 3,
}


def timm_backbone(*indices: int, name: str = "test_resnet") -> dict[str, Any]:
    return {"model_type": "timm_backbone", "backbone": name, "features_only": True, "out_indices": list(indices)}


def resnet() -> dict[str, Any]:
    return {
        "model_type": "rt_detr_resnet",
        "embedding_size": 8,
        "hidden_sizes": [8, 16, 24, 32],
        "depths": [1, 1, 1, 1],
        "layer_type": "basic",
        "out_indices": [2, 3, 4],
    }


def hgnet() -> dict[str, Any]:
    return {
        "model_type": "hgnet_v2",
        "stem_channels": [3, 8, 8],
        "stage_in_channels": [8, 8, 16, 24],
        "stage_mid_channels": [8, 8, 8, 8],
        "stage_out_channels": [8, 16, 24, 32],
        "stage_num_blocks": [1, 1, 2, 1],
        "stage_numb_of_layers": [2, 2, 2, 2],
        "hidden_sizes": [8, 16, 24, 32],
        "out_indices": [2, 3, 4],
    }


def settings(kind: str) -> dict[str, Any]:
    """What makes the configuration of a type small."""
    if kind in ("detr", "conditional_detr", "dab-detr", "table-transformer"):
        extra = {"hidden_size": 32} if kind == "dab-detr" else {}
        return {**_TRANSFORMER, **extra, "backbone_config": timm_backbone(1, 2, 3, 4)}
    if kind == "deformable_detr":
        return {**_TRANSFORMER, "backbone_config": timm_backbone(2, 3, 4), "num_feature_levels": 3}
    if kind in ("rt_detr", "rt_detr_v2"):
        return {**_REAL_TIME, "backbone_config": resnet()}
    if kind in ("d_fine", "deimv2"):
        return {**_REAL_TIME, "backbone_config": hgnet(), "eval_idx": -1}
    if kind == "pp_doclayout_v3":  # its masks need the finest map too
        fine = {**hgnet(), "out_indices": [1, 2, 3, 4]}
        return {**_REAL_TIME, "backbone_config": fine, "encoder_in_channels": [16, 24, 32]}
    if kind.startswith("pp_doclayout"):
        return {**_REAL_TIME, "backbone_config": hgnet()}
    if kind in ("pp_ocrv5_server_det", "pp_ocrv6_medium_det"):
        sides: dict[str, Any] = {"reduce_channel": [1, 1, 0], "return_channel": [1, 1, 0]}
        for ratio, size in {"long": 7, "mid": 5, "short": 3}.items():
            half = size // 2
            sides[f"vertical_long_to_small_conv_{ratio}ratio"] = [[size, 1], 1, [half, 0]]
            sides[f"horizontal_small_to_long_conv_{ratio}ratio"] = [[1, size], 1, [0, half]]
            sides[f"symmetric_conv_long_{ratio}ratio"] = [size, 1, half]
        return {"intraclass_block_config": sides, "kernel_list": [3, 2, 2], "scale_factor_list": [1, 2, 4, 8]}
    if kind == "lw_detr":
        backbone = {"model_type": "lw_detr_vit", **_VIT, "window_block_indices": [1]}
        return {**_WITH_GROUPS, "backbone_config": backbone, "projector_scale_factors": [1.0]}
    if kind == "rf_detr":
        return {**_WITH_GROUPS, "backbone_config": {"model_type": "rf_detr_dinov2", **_VIT}}
    if kind == "yolos":
        return {
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 48,
            "image_size": [SIDE, SIDE],
            "num_detection_tokens": 10,
        }
    return {}


def config_of(kind: str, classes: int = 3, **changes: Any) -> PretrainedConfig:
    made = CONFIG_MAPPING[kind](**{**settings(kind), **changes})
    if not kind.startswith("pp_ocr"):
        made.num_labels = classes
    return made


def detector_of(kind: str, classes: int = 3, **changes: Any) -> nn.Module:
    return AutoModelForObjectDetection.from_config(config_of(kind, classes, **changes))
