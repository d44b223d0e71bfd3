"""How a detector is built: from a checkpoint or its configuration alone, with its own image backbone or another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from thermocline.backbones.library_settings import quiet_transformers
from thermocline.backbones.pretrained import Source
from thermocline.errors import ConfigError, first_line
from thermocline.problems.object_detection.box_spec import DetectionSpec
from thermocline.problems.object_detection.detector import Detector, DetectorOrigin, takes_mask
from thermocline.problems.object_detection.detector_backbone import (
    Backbone,
    load_backbone,
    put_backbone,
    unfreeze_built_frozen,
)
from thermocline.problems.object_detection.detector_config import DetectorSettings, config_of
from thermocline.problems.object_detection.detector_spec import spec_of
from thermocline.problems.object_detection.detector_weights import load_model, random_model
from thermocline.tuning.layers.detector_parts import frozen_norms

_DEFAULTS = DetectorSettings()


@dataclass(frozen=True)
class _Parts:
    """A detector as it is being built.

    Attributes:
        model: The model.
        spec: Its preprocessing.
        origin: Where it comes from.
    """

    model: nn.Module
    spec: DetectionSpec
    origin: DetectorOrigin


def build_detector(
    source: Source,
    folder: Path | None,
    classes: Sequence[Any],
    settings: DetectorSettings = _DEFAULTS,
    *,
    backbone: Source | None = None,
    backbone_folder: Path | None = None,
) -> Detector:
    """Build a detector with the weights of its checkpoint, or random ones.

    Class heads are the checkpoint's only where the classes are the same, in the same order; else they start at random.

    Args:
        source: Which detector (`find_detector`).
        folder: Its folder, where it is a folder or was downloaded.
        classes: The classes.
        settings: What else is asked of it.
        backbone: The image backbone of a random detector, in place of its own (`find_image`).
        backbone_folder: The folder of that.

    Raises:
        CheckpointError: The weights do not fit the configuration, or it is no detector.
        ConfigError: There are no classes, or the detector does not run at this size.
    """
    if not classes:
        raise ConfigError("A detector needs at least one class; the training frame has no boxes.")
    config, saved = config_of(source, folder, classes, settings)
    spec, processor = spec_of(config.model_type, folder, size=settings.size, masked=takes_mask(_class_of(config)))
    other = None if backbone is None else _other_backbone(backbone, backbone_folder, source, config)
    model, fresh = _model(source, folder, config, same_classes=saved == tuple(classes))
    notes = ("losses after every decoder layer are on",) if getattr(config, "auxiliary_loss", False) else ()
    parts = _Parts(model, spec, DetectorOrigin(processor, pretrained=source.pretrained, fresh=fresh, notes=notes))
    if other is not None:
        parts = _with_backbone(parts, other)
    parts = _unfrozen(parts, asked=settings.unfreeze)
    detector = Detector(parts.model.float(), parts.spec, classes, parts.origin)
    _check_runs(detector, source.name)
    return detector


def _model(source: Source, folder: Path | None, config: Any, *, same_classes: bool) -> tuple[nn.Module, frozenset[str]]:
    """Build the model, and return with it the names of parameters that start at random although it is pretrained."""
    with quiet_transformers():
        if source.pretrained:
            return load_model(source, folder, config, same_classes=same_classes)
        return random_model(source, config), frozenset()


def _class_of(config: Any) -> type[nn.Module]:
    from transformers.models.auto.modeling_auto import MODEL_FOR_OBJECT_DETECTION_MAPPING

    kind: type[nn.Module] = MODEL_FOR_OBJECT_DETECTION_MAPPING[type(config)]
    return kind


def _other_backbone(backbone: Source, folder: Path | None, source: Source, config: Any) -> Backbone:
    """Build the backbone and write it into the detector's configuration."""
    from transformers import CONFIG_MAPPING

    if source.pretrained:
        raise ConfigError(
            "A pretrained detector comes with its own backbone. Leave model.detector.backbone at null, or set "
            "model.detector.pretrained=false to build a detector of random weights on it."
        )
    built = load_backbone(backbone, folder, config.model_type)
    settings = dict(built.config)
    config.backbone_config = CONFIG_MAPPING[settings.pop("model_type")](**settings)
    if hasattr(config, "encoder_in_channels"):
        config.encoder_in_channels = list(built.channels)
    return built


def _with_backbone(parts: _Parts, backbone: Backbone) -> _Parts:
    """Put another backbone into a random detector."""
    model, spec = parts.model, parts.spec
    timm = put_backbone(model, backbone)
    if backbone.mean:
        spec = replace(spec, mean=_three(backbone.mean), std=_three(backbone.std))
    fresh = frozenset(name for name, _ in model.named_parameters()) - _inside_backbone(model)
    origin = replace(
        parts.origin, pretrained=backbone.pretrained, fresh=fresh if backbone.pretrained else frozenset(), timm=timm
    )
    return _Parts(model, spec, origin)


def _unfrozen(parts: _Parts, *, asked: bool) -> _Parts:
    """Unfreeze what the detector builds frozen, where that was asked for or none of its weights are pretrained."""
    model, origin = parts.model, parts.origin
    built_frozen = frozen_norms(model) or not all(p.requires_grad for p in model.parameters())
    if not asked and (origin.pretrained or not built_frozen):
        return parts
    notes = (*origin.notes, *unfreeze_built_frozen(model))
    return replace(parts, origin=replace(origin, notes=notes, unfrozen=True))


def _three(values: Sequence[float]) -> tuple[float, float, float]:
    first, second, third = values
    return first, second, third


def _inside_backbone(model: nn.Module) -> frozenset[str]:
    """Return the names of the parameters of the image backbone that was put in."""
    for name, module in model.named_modules():
        kinds = {kind.__name__ for kind in type(module).__mro__}
        if name and ("BackboneMixin" in kinds or hasattr(module, "feature_info")):
            return frozenset(n for n, _ in module.named_parameters(prefix=name))
    return frozenset()


def _check_runs(detector: Detector, name: str) -> None:
    """Run a grey image through, so that a size that does not fit is an error now.

    Raises:
        ConfigError: The detector does not run on images of its size.
    """
    was_training = detector.training
    detector.eval()
    side = detector.spec.outer(np.array([detector.spec.inner(96, 96)]))
    try:
        with torch.no_grad():
            detector({"pixels": torch.full((1, 3, *side), 128, dtype=torch.uint8)})
    except Exception as error:
        raise ConfigError(
            f"The detector {name!r} does not run on images of {side[0]}×{side[1]} ({type(error).__name__}: "
            f"{first_line(error)}). Leave `model.detector.size` at null, or give a multiple of 32; "
            "where queries are picked from the image, ask for fewer of them at a small size (`model.detector.queries`)."
        ) from error
    detector.train(was_training)
