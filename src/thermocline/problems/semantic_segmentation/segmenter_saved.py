"""A segmenter as plain data, and built again from that for saved weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from thermocline.backbones.saved_config import checked_config
from thermocline.problems.semantic_segmentation.light_build import rebuild_light
from thermocline.problems.semantic_segmentation.segmenter import Segmenter, SegmenterOrigin
from thermocline.problems.semantic_segmentation.segmenter_spec import SegmentationSpec


def describe_segmenter(segmenter: Segmenter) -> dict[str, Any]:
    """Return what `rebuild_segmenter` needs, as plain data for JSON."""
    origin = segmenter.origin
    return {
        "light": origin.light,
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
        data["pretrained"], frozenset(data["fresh"]), light=data["light"], notes=tuple(data["notes"])
    )
    model = rebuild_light(data["light"], len(data["classes"]))
    return Segmenter(model.float(), SegmentationSpec.from_dict(data["spec"]), data["classes"], origin)


def checked_description(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return a description, checked to name what transformers and timm build by themselves.

    Raises:
        ValueError: It names a file, a hub or code.
    """
    from timm import is_model

    light = data["light"] and checked_config(data["light"], "towers.json: segmenter.light")
    if light and not is_model(light["architecture"]):
        raise ValueError(f"towers.json: {light['architecture']!r} is no model that this timm builds by itself")
    return {**data, "light": light}
