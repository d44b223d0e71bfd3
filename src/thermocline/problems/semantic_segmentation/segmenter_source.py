"""Where a segmenter comes from: its name resolved to a folder, a hub id or an architecture; nothing is built."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from thermocline.backbones.pretrained import Source, find_image
from thermocline.errors import CheckpointError, did_you_mean, listing
from thermocline.problems.semantic_segmentation.options import DEFAULT_BACKBONE, LIGHT, SegmenterOptions


@dataclass(frozen=True)
class Sources:
    """What a segmenter is built from.

    Attributes:
        model: A segmentation model of transformers, or None for the light head.
        backbone: The backbone of the light head, or in place of the model's own; else None.
    """

    model: Source | None
    backbone: Source | None


def segmenter_types() -> tuple[str, ...]:
    """Return the model types that transformers builds for semantic segmentation."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING_NAMES

    return tuple(MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING_NAMES)


def find_sources(options: SegmenterOptions) -> Sources:
    """Find the segmenter, and its backbone where that is named apart; nothing is loaded.

    A folder of timm as the checkpoint is a backbone, which gets the light head.

    Raises:
        CheckpointError: There is no such segmenter or backbone, or it holds no weights.
    """
    if options.checkpoint == LIGHT:
        return Sources(None, _backbone(options.backbone or DEFAULT_BACKBONE, pretrained=options.backbone_pretrained))
    try:
        model = _find_model(options.checkpoint, pretrained=options.pretrained)
    except CheckpointError as error:
        raise CheckpointError(f"model.segmenter.checkpoint: {error}") from error
    if model.library == "timm":
        if options.backbone is not None:
            raise CheckpointError(
                f"model.segmenter.checkpoint {options.checkpoint!r} is an image backbone of timm, and "
                f"model.segmenter.backbone names another one, {options.backbone!r}. Leave one of the two out."
            )
        return Sources(None, model)
    if options.backbone is None:
        return Sources(model, None)
    return Sources(model, _backbone(options.backbone, pretrained=options.backbone_pretrained))


def _backbone(name: str, *, pretrained: bool) -> Source:
    try:
        return find_image(name, pretrained=pretrained)
    except CheckpointError as error:
        said = str(error).replace("model.image.pretrained", "model.segmenter.backbone_pretrained")
        raise CheckpointError(f"model.segmenter.backbone: {said}") from error


def _find_model(name: str, *, pretrained: bool) -> Source:
    import timm

    if Path(name).is_dir() or name.startswith((".", "/", "~", "timm/")):
        return find_image(name, pretrained=pretrained)
    types = segmenter_types()
    if name in types:
        if pretrained:
            raise CheckpointError(
                f"{name!r} is an architecture of transformers, not a checkpoint. Name a folder or a hub id, or set "
                "`model.segmenter.pretrained=false` to train it from random weights."
            )
        return Source("transformers", "architecture", name, name, pretrained=False)
    if timm.is_model(name):
        return find_image(name, pretrained=pretrained)
    if "/" not in name:
        raise CheckpointError(
            f"There is no segmenter {name!r}: not {LIGHT!r}, not a folder, not a type that transformers builds, not a "
            f"timm model, and a hub id reads owner/name.{did_you_mean(name, [LIGHT, *types])} Types are "
            f"{listing(types, limit=30)}."
        )
    return Source("transformers", "hub", name, name, pretrained=pretrained)
