"""A detector's configuration for these classes: from a checkpoint, or of an architecture by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thermocline.backbones.library_settings import quiet_transformers
from thermocline.backbones.pretrained import Source
from thermocline.errors import CheckpointError, ConfigError, first_line, listing
from thermocline.problems.object_detection.detector_source import architecture
from thermocline.tuning.layers.detector_parts import offline

#: Types whose queries are picked from the image by score; those of the others are weights.
_PICK_QUERIES = ("d_fine", "deimv2", "rt_detr", "rt_detr_v2")


@dataclass(frozen=True)
class DetectorSettings:
    """What is asked of a detector apart from its checkpoint and classes.

    Attributes:
        size: Pixels a side, or None for the checkpoint's own.
        queries: Boxes that it can predict an image, or None for the checkpoint's own.
        unfreeze: Whether what the detector freezes as it is built is unfrozen.
    """

    size: int | None = None
    queries: int | None = None
    unfreeze: bool = False


def config_of(
    source: Source, folder: Path | None, classes: Sequence[Any], settings: DetectorSettings
) -> tuple[Any, tuple[str, ...]]:
    """Return the configuration for these classes, and the names of the checkpoint's own classes.

    Args:
        source: Which detector.
        folder: Its folder, where it is a folder or was downloaded.
        classes: The classes.
        settings: What else is asked of it.

    Raises:
        CheckpointError: It cannot be read, or is no detector.
        ConfigError: Another number of queries than this detector can have.
    """
    from transformers import CONFIG_MAPPING
    from transformers.models.auto.modeling_auto import MODEL_FOR_OBJECT_DETECTION_MAPPING_NAMES as KNOWN

    if source.kind == "architecture":
        kind, own = architecture(source)
        config: Any = CONFIG_MAPPING[kind](**own)
    else:
        config = _saved_config(source, folder)
    if config.model_type not in KNOWN:
        raise CheckpointError(
            f"{source.name!r} is of type {config.model_type!r}, which is no object detector. Types are "
            f"{listing(KNOWN, limit=30)}."
        )
    saved = tuple((config.id2label or {}).values())
    config.id2label = dict(enumerate(map(str, classes)))
    config.label2id = {name: number for number, name in config.id2label.items()}
    if hasattr(config, "auxiliary_loss") and hasattr(config, "decoder_layers"):
        config.auxiliary_loss = True  # every paper of the family trains so; some checkpoints say otherwise
    if settings.queries is not None:
        _set_queries(config, source, settings.queries)
    return offline(config), saved


def unreadable(source: Source, error: BaseException) -> CheckpointError:
    """Return the error for a detector that transformers cannot build."""
    return CheckpointError(
        f"The detector {source.name!r} cannot be built by transformers ({type(error).__name__}: "
        f"{first_line(error)}). Check that the folder is whole and that its model_type is one that "
        "AutoModelForObjectDetection knows."
    )


def _saved_config(source: Source, folder: Path | None) -> Any:
    from transformers import AutoConfig

    with quiet_transformers():
        try:
            return AutoConfig.from_pretrained(str(folder), trust_remote_code=False)
        except Exception as error:
            raise unreadable(source, error) from error


def _set_queries(config: Any, source: Source, queries: int) -> None:
    key = next((key for key in ("num_queries", "num_detection_tokens") if hasattr(config, key)), None)
    if key is None:
        raise ConfigError(f"A {config.model_type!r} detector has no queries; leave model.detector.queries at null.")
    own = getattr(config, key)
    if source.pretrained and config.model_type not in _PICK_QUERIES and queries != own:
        raise ConfigError(
            f"{source.name!r} has learned {own} queries, so model.detector.queries cannot be {queries}. Leave it at "
            "null, or train from random weights."
        )
    setattr(config, key, queries)
