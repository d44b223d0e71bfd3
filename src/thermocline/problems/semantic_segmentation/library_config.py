"""The configuration of a segmentation model of transformers: from a checkpoint, or of a type by name."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from thermocline.backbones.library_settings import quiet_transformers
from thermocline.backbones.pretrained import Source
from thermocline.errors import CheckpointError, first_line, listing
from thermocline.tuning.layers.detector_parts import offline

#: What a type needs so that its default configuration can be built.
_NEEDED: dict[str, dict[str, Any]] = {
    "beit": {"out_indices": [3, 5, 7, 11]},
    "sapiens2": {"head_config": {"upsample_out_channels": [768, 768], "conv_out_channels": [64, 64]}},
}


def own_config(source: Source, folder: Path | None) -> Any:
    """Return the configuration with the checkpoint's own classes; its auxiliary head is left out.

    Args:
        source: Which segmenter.
        folder: Its folder, where it is a folder or was downloaded.

    Raises:
        CheckpointError: It cannot be read, or is no model for semantic segmentation.
    """
    from transformers import CONFIG_MAPPING, AutoConfig

    with quiet_transformers():
        try:
            if folder is None:
                config: Any = CONFIG_MAPPING[source.location](**_NEEDED.get(source.location, {}))
            else:
                _check_type(source, json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type"))
                config = AutoConfig.from_pretrained(str(folder), trust_remote_code=False)
        except CheckpointError:
            raise
        except Exception as error:
            raise unreadable(source, error) from error
    if getattr(config, "use_auxiliary_head", False):
        config.use_auxiliary_head = False
    return offline(config)


def _check_type(source: Source, kind: Any) -> None:
    """Raise unless a model type is one for semantic segmentation, or one that transformers does not know."""
    from transformers.models.auto import modeling_auto as auto
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    known = auto.MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING_NAMES
    if kind in known or kind not in CONFIG_MAPPING_NAMES:
        return
    if kind in auto.MODEL_FOR_UNIVERSAL_SEGMENTATION_MAPPING_NAMES:
        raise CheckpointError(
            f"{source.name!r} is of type {kind!r}, which predicts masks of objects and is trained by matching them. "
            f"This problem takes models that give a class for every pixel: {listing(known, limit=30)}."
        )
    raise CheckpointError(
        f"{source.name!r} is of type {kind!r}, which is no model for semantic segmentation. Types are "
        f"{listing(known, limit=30)}. For an image backbone with a light head leave model.segmenter.checkpoint at "
        "'light' and name a timm model or folder as model.segmenter.backbone."
    )


def set_classes(config: Any, classes: Sequence[Any]) -> tuple[str, ...]:
    """Give a configuration these classes, and return the names of those that it had."""
    before = tuple(str(name) for _, name in sorted((config.id2label or {}).items(), key=lambda pair: int(pair[0])))
    config.id2label = dict(enumerate(map(str, classes)))
    config.label2id = {name: number for number, name in config.id2label.items()}
    return before


def unreadable(source: Source, error: BaseException) -> CheckpointError:
    """Return the error for a segmenter that transformers cannot build."""
    return CheckpointError(
        f"The segmenter {source.name!r} cannot be built by transformers ({type(error).__name__}: "
        f"{first_line(error)}). Check that the folder is whole and that its model_type is one that "
        "AutoModelForSemanticSegmentation knows."
    )
