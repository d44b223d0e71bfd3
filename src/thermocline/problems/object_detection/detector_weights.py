"""A detector's weights: random ones, or those of a checkpoint, with new class heads where the classes are others."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from thermocline.backbones.class_heads import class_dependent, initialise
from thermocline.backbones.pretrained import Source
from thermocline.errors import CheckpointError
from thermocline.problems.object_detection.detector_config import unreadable


def random_model(source: Source, config: Any) -> nn.Module:
    """Build a detector with random weights.

    Raises:
        CheckpointError: transformers cannot build it.
    """
    from transformers import AutoModelForObjectDetection

    try:
        model: nn.Module = AutoModelForObjectDetection.from_config(config)
    except Exception as error:
        raise unreadable(source, error) from error
    return model


def load_model(
    source: Source, folder: Path | None, config: Any, *, same_classes: bool
) -> tuple[nn.Module, frozenset[str]]:
    """Build a detector with the weights of a checkpoint; all but those of the class heads must be there.

    Args:
        source: Which detector.
        folder: Its folder.
        config: Its configuration, for the classes of the data.
        same_classes: Whether the checkpoint has the same classes in the same order, so that its heads are kept.

    Returns:
        The model, and the names of its parameters that start at random.

    Raises:
        CheckpointError: The weights cannot be read, or do not fit the configuration.
    """
    model, info = _loaded(source, folder, config)
    heads = class_dependent(model)
    names = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    lost = {key for key in info["missing_keys"] if key in names}
    lost |= {key if isinstance(key, str) else key[0] for key in info.get("mismatched_keys", ())}
    wrong = sorted(lost - heads)
    if wrong:
        raise CheckpointError(
            f"The weights of {source.name!r} do not fit its configuration: {len(wrong)} of {len(names)} parameters "
            f"are missing or have another shape (first: {wrong[:3]}). They would have been random."
        )
    if same_classes and not lost:
        return model, frozenset()
    initialise(model, heads, config)
    first = {id(p): name for name, p in reversed(list(model.named_parameters()))}
    return model, frozenset(first[id(p)] for name, p in model.named_parameters() if name in heads)


def _loaded(source: Source, folder: Path | None, config: Any) -> tuple[nn.Module, Mapping[str, Any]]:
    """Return the model, and which weights were missing or of another shape."""
    from transformers import AutoModelForObjectDetection

    try:
        model, info = AutoModelForObjectDetection.from_pretrained(
            str(folder),
            config=config,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            dtype=torch.float32,
            trust_remote_code=False,
        )
    except Exception as error:
        raise unreadable(source, error) from error
    return model, info
