"""A segmenter as plain data, and built again from that for saved weights."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from torch import nn

from thermocline.backbones.library_settings import correct_settings, quiet_transformers
from thermocline.backbones.saved_config import checked_config
from thermocline.problems.semantic_segmentation.library_backbone import place_network, rebuild_network
from thermocline.problems.semantic_segmentation.light_build import rebuild_light
from thermocline.problems.semantic_segmentation.segmenter import Segmenter, SegmenterOrigin
from thermocline.problems.semantic_segmentation.segmenter_spec import SegmentationSpec
from thermocline.tuning.layers.detector_parts import offline

_PARTS = ("light", "config", "network")


def describe_segmenter(segmenter: Segmenter) -> dict[str, Any]:
    """Return what `rebuild_segmenter` needs, as plain data for JSON."""
    origin = segmenter.origin
    return {
        "light": origin.light,
        "config": None if origin.light is not None else _config(segmenter.model).to_dict(),
        "network": origin.network,
        "spec": segmenter.spec.to_dict(),
        "classes": list(segmenter.classes),
        "pretrained": origin.pretrained,
        "fresh": sorted(origin.fresh),
        "notes": list(origin.notes),
    }


def rebuild_segmenter(data: Mapping[str, Any]) -> Segmenter:
    """Build a saved segmenter's modules; the weights are loaded by the caller.

    Args:
        data: What `checked_description` returned.
    """
    origin = SegmenterOrigin(
        data["pretrained"],
        frozenset(data["fresh"]),
        light=data["light"],
        network=data["network"],
        notes=tuple(data["notes"]),
    )
    model = _rebuilt(data) if data["light"] is None else rebuild_light(data["light"], len(data["classes"]))
    return Segmenter(model.float(), SegmentationSpec.from_dict(data["spec"]), data["classes"], origin)


def _rebuilt(data: Mapping[str, Any]) -> nn.Module:
    from transformers import CONFIG_MAPPING, AutoModelForSemanticSegmentation

    config = CONFIG_MAPPING[data["config"]["model_type"]].from_dict(copy.deepcopy(dict(data["config"])))
    with quiet_transformers():
        model: nn.Module = AutoModelForSemanticSegmentation.from_config(offline(config))
    if data["network"] is not None:
        place_network(model, rebuild_network(data["network"]))
    correct_settings(model)
    return model


def _config(model: Any) -> Any:
    return model.config


def checked_description(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return a description, checked to name what transformers and timm build by themselves.

    Raises:
        ValueError: It names a file, a hub or code.
    """
    from timm import is_model
    from transformers.models.auto.modeling_auto import MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING_NAMES as KNOWN

    parts = {key: data[key] and checked_config(data[key], f"towers.json: segmenter.{key}") for key in _PARTS}
    for timm in (parts["light"], parts["network"]):
        if timm and not is_model(timm["architecture"]):
            raise ValueError(f"towers.json: {timm['architecture']!r} is no model that this timm builds by itself")
    if parts["light"] is None:
        kind = parts["config"]["model_type"]
        if kind not in KNOWN or "auto_map" in data["config"]:
            raise ValueError(f"towers.json: {kind!r} is no segmenter that this transformers builds by itself")
    return {**data, **parts}
