"""Feature networks of timm: a backbone that gives its maps at several depths, from a folder, the hub or by name."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from thermocline.backbones.pretrained import Source
from thermocline.errors import CheckpointError

_LEFT_OUT = ("num_classes", "checkpoint_path", "pretrained_cfg", "pretrained_cfg_overlay", "cache_dir")


def architecture_of(source: Source, folder: Path | None) -> tuple[str, dict[str, Any]]:
    """Return the architecture of a timm backbone and the arguments that its folder was saved with.

    Args:
        source: Which backbone.
        folder: Its folder, where it is a folder or was downloaded.

    Raises:
        CheckpointError: The folder names no architecture that this timm knows.
    """
    import timm

    if folder is None:
        return source.location, {}
    saved = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    architecture = saved.get("architecture")
    if not isinstance(architecture, str) or not timm.is_model(architecture):
        raise CheckpointError(f"{folder}/config.json names {architecture!r}, which this timm does not know.")
    given = dict(saved.get("model_args") or {})
    return architecture, {key: value for key, value in given.items() if key not in _LEFT_OUT}


def without_weights(architecture: str, arguments: Mapping[str, Any]) -> Any:
    """Return a feature network on the meta device: shapes, and `feature_info`, without memory."""
    import timm

    with torch.device("meta"):
        return timm.create_model(architecture, features_only=True, pretrained=False, **arguments)


def timm_network(described: Mapping[str, Any], *, name: str | None = None, pretrained: bool = False) -> nn.Module:
    """Build a feature network of timm.

    Args:
        described: Its `architecture`, `out_indices` and `arguments`.
        name: Where its weights are, such as `local-dir:…`.
        pretrained: Whether they are loaded; else they are random.
    """
    import timm

    log = logging.getLogger("timm.models._builder")
    level = log.level
    log.setLevel(logging.ERROR)  # no warning of the classifier, which is left out on purpose
    try:
        network: nn.Module = timm.create_model(
            name or described["architecture"],
            features_only=True,
            pretrained=pretrained,
            out_indices=described["out_indices"],
            **described["arguments"],
        )
    finally:
        log.setLevel(level)
    return network
