"""A detector as plain data, and built again from that for saved weights."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from thermocline.backbones.library_settings import quiet_transformers
from thermocline.backbones.saved_config import checked_config
from thermocline.backbones.timm_features import timm_network
from thermocline.problems.object_detection.box_spec import DetectionSpec
from thermocline.problems.object_detection.detector import Detector, DetectorOrigin
from thermocline.problems.object_detection.detector_backbone import (
    place_network,
    unfreeze_built_frozen,
)
from thermocline.tuning.layers.detector_parts import offline


def describe_detector(detector: Detector) -> dict[str, Any]:
    """Return what `rebuild_detector` needs, as plain data for JSON."""
    config: Any = detector.model.config
    origin = detector.origin
    return {
        "config": config.to_dict(),
        "spec": detector.spec.to_dict(),
        "processor": origin.processor,
        "classes": list(detector.classes),
        "pretrained": origin.pretrained,
        "fresh": sorted(origin.fresh),
        "timm": origin.timm,
        "thawed": origin.unfrozen,
        "notes": list(origin.notes),
    }


def rebuild_detector(data: Mapping[str, Any]) -> Detector:
    """Build a saved detector's modules; the weights are loaded by the caller."""
    from transformers import CONFIG_MAPPING, AutoModelForObjectDetection

    config = CONFIG_MAPPING[data["config"]["model_type"]].from_dict(copy.deepcopy(dict(data["config"])))
    origin = DetectorOrigin(
        data["processor"],
        pretrained=data["pretrained"],
        fresh=frozenset(data["fresh"]),
        timm=data["timm"],
        unfrozen=data["thawed"],
        notes=tuple(data["notes"]),
    )
    with quiet_transformers():
        model = AutoModelForObjectDetection.from_config(offline(config))
    if origin.timm is not None:
        place_network(model, timm_network(origin.timm), constant_norms=origin.timm["still"])
    if origin.unfrozen:
        unfreeze_built_frozen(model)
    return Detector(model.float(), DetectionSpec.from_dict(data["spec"]), data["classes"], origin)


def checked_description(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return a description, checked to name what transformers and timm build by themselves.

    Raises:
        ValueError: It names a file, a hub or code.
    """
    from timm import is_model
    from transformers.models.auto.modeling_auto import MODEL_FOR_OBJECT_DETECTION_MAPPING_NAMES as KNOWN

    config = checked_config(data["config"], "towers.json: detector.config")
    timm = data["timm"] and checked_config(data["timm"], "towers.json: detector.timm")
    kind = config["model_type"]
    if kind not in KNOWN or "auto_map" in data["config"]:
        raise ValueError(f"towers.json: {kind!r} is no detector that this transformers builds by itself")
    if timm is not None and not is_model(timm["architecture"]):
        raise ValueError(f"towers.json: {timm['architecture']!r} is no model that this timm builds by itself")
    return {**data, "config": config, "timm": timm}
