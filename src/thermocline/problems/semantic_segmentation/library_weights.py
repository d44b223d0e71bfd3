"""The weights of a segmentation model of transformers: random ones, or a checkpoint's with rows for new classes."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from thermocline.backbones.class_heads import class_dependent
from thermocline.backbones.library_settings import quiet_transformers
from thermocline.backbones.pretrained import Source
from thermocline.errors import CheckpointError, counted
from thermocline.problems.semantic_segmentation.library_config import set_classes, unreadable
from thermocline.tuning.layers.detector_parts import offline, parts_of


def random_model(source: Source, config: Any) -> nn.Module:
    """Build a segmenter with random weights.

    Raises:
        CheckpointError: transformers cannot build it.
    """
    from transformers import AutoModelForSemanticSegmentation

    try:
        with quiet_transformers():
            model: nn.Module = AutoModelForSemanticSegmentation.from_config(offline(config))
    except Exception as error:
        raise unreadable(source, error) from error
    return model


def load_model(
    source: Source, folder: Path, config: Any, classes: Sequence[Any]
) -> tuple[nn.Module, frozenset[str], tuple[str, ...]]:
    """Build a segmenter with the weights of a checkpoint, and its classifier for these classes.

    The weights of the backbone must be there. Those of neck and head may be missing as a whole: then the checkpoint is
    one of the backbone alone, and they start at random.

    Args:
        source: Which segmenter.
        folder: Its folder.
        config: Its configuration with its own classes.
        classes: The classes of the data.

    Returns:
        The model, the names of its parameters that start at random, and notes on what was replaced.

    Raises:
        CheckpointError: The weights cannot be read, or do not fit the configuration.
    """
    model, lost = _loaded(source, folder, config)
    names = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    parts = parts_of(model) or {}
    above = {name for name in names if parts.get(name) != "backbone"}
    dependent = class_dependent(model)
    wrong = sorted(lost - dependent - (above if above <= lost else set()))
    if wrong:
        raise CheckpointError(
            f"The weights of {source.name!r} do not fit its configuration: {len(wrong)} of {len(names)} parameters "
            f"are missing or have another shape (first: {wrong[:3]}). They would have been random."
        )
    notes = ("the checkpoint holds a backbone alone: neck and head start at random",) if above <= lost else ()
    model, fresh, replaced = _for_classes(model, classes, dependent, lost)
    return model, fresh, (*notes, *replaced)


def _loaded(source: Source, folder: Path, config: Any) -> tuple[nn.Module, set[str]]:
    """Return the model, and the names of parameters that were missing or of another shape."""
    from transformers import AutoModelForSemanticSegmentation

    try:
        with quiet_transformers():
            model, info = AutoModelForSemanticSegmentation.from_pretrained(
                str(folder),
                config=config,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
                dtype=torch.float32,
                trust_remote_code=False,
            )
    except Exception as error:
        raise unreadable(source, error) from error
    names = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    lost = {key for key in info["missing_keys"] if key in names}
    lost |= {key if isinstance(key, str) else key[0] for key in info.get("mismatched_keys", ())}
    return model, lost


def _for_classes(
    model: Any, classes: Sequence[Any], dependent: frozenset[str], lost: set[str]
) -> tuple[nn.Module, frozenset[str], tuple[str, ...]]:
    """Return the model for these classes; rows of the classifier stay where classes have the same name."""
    config = copy.deepcopy(model.config)
    saved = set_classes(config, classes)
    if saved == tuple(map(str, classes)):
        return model, frozenset(lost), ()
    new = type(model)(offline(config))
    state, own = model.state_dict(), new.state_dict()
    new.load_state_dict({name: own[name] if name in dependent else value for name, value in state.items()})
    places = {name: place for place, name in enumerate(saved)}
    kept = [] if dependent & lost else [(n, places[str(one)]) for n, one in enumerate(classes) if str(one) in places]
    _copy_rows(dict(new.named_parameters()), state, dependent, kept)
    count = len(classes) - len(kept)
    fresh = frozenset(lost | (dependent if count else frozenset()))
    note = f"{counted(len(kept), 'class', 'classes')} of {len(classes)} kept the checkpoint's weights of the same name"
    replaced = f"the classifier of {len(saved)} classes was replaced; " + (note if kept else "all classes start anew")
    return new, fresh, () if dependent & lost else (replaced,)


@torch.no_grad()
def _copy_rows(
    new: Mapping[str, nn.Parameter], old: Mapping[str, torch.Tensor], names: frozenset[str], rows: list[tuple[int, int]]
) -> None:
    """Copy rows of parameters, from (new row, old row)."""
    for name in names:
        if name in new and new[name].shape[1:] == old[name].shape[1:]:
            for to, place in rows:
                new[name][to] = old[name][place]
