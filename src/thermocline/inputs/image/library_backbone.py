"""A backbone class of transformers, which gives several feature maps, with its preprocessing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from thermocline.backbones.library_settings import quiet_transformers
from thermocline.backbones.pretrained import Source
from thermocline.inputs.image.build import check_loaded
from thermocline.inputs.image.preprocessor import read_preprocessor


@dataclass(frozen=True)
class LibraryBackbone:
    """A backbone class of transformers, built.

    Attributes:
        network: The backbone, with its weights where they are pretrained.
        config: Its configuration.
        mean: Mean of each colour in its pretraining, pixels in 0..1, or empty.
        std: Their standard deviation, or empty.
    """

    network: Any
    config: Any
    mean: tuple[float, ...]
    std: tuple[float, ...]


def library_backbone(source: Source, folder: Path | None, stages_of: Callable[[int], list[int]]) -> LibraryBackbone:
    """Build a backbone class of transformers.

    Args:
        source: The checkpoint, or the type.
        folder: Its files; None where only its type is named.
        stages_of: Number of stages, the stem among them → those whose feature maps are given.
    """
    from transformers import CONFIG_MAPPING, AutoBackbone, AutoConfig
    from transformers.models.auto.modeling_auto import MODEL_FOR_BACKBONE_MAPPING

    network: Any
    with quiet_transformers():
        config: Any = CONFIG_MAPPING[source.location]() if folder is None else AutoConfig.from_pretrained(str(folder))
        config.out_indices = stages_of(len(config.stage_names))
        if source.pretrained:
            kind = MODEL_FOR_BACKBONE_MAPPING[type(config)]
            network, info = kind.from_pretrained(
                str(folder), config=config, dtype=torch.float32, output_loading_info=True
            )
            check_loaded(network, info, source.name)
        else:
            network = AutoBackbone.from_config(config)
    own = read_preprocessor(folder)
    mean, std = tuple(own.get("image_mean") or ()), tuple(own.get("image_std") or ())
    return LibraryBackbone(network, config, mean, std)
