"""Builds text towers: from pretrained weights, from a configuration alone, and again from a saved predictor."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from thermocline.backbones.adapters import Adapters, inject
from thermocline.backbones.library_settings import correct_settings, quiet_transformers
from thermocline.backbones.pretrained import ARCHITECTURES, Source
from thermocline.backbones.saved_config import checked_config
from thermocline.errors import ArtifactError, CheckpointError, first_line
from thermocline.inputs.text.rows import JOINT
from thermocline.inputs.text.tokenizer import fit_vocabulary
from thermocline.inputs.text.tower import TextTower

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerBase


def build_text(
    source: Source,
    folder: Path | None,
    tokenizer: PreTrainedTokenizerBase | None,
    *,
    pooling: str,
    trust_remote_code: bool = False,
) -> TextTower:
    """Build a text tower with pretrained weights, or random ones.

    Args:
        source: Where the backbone comes from.
        folder: Its folder; `None` for an architecture.
        tokenizer: A tokenizer trained here, to whose vocabulary a random model is made; else `None`.
        pooling: `auto`, `cls`, `mean` or `last`.
        trust_remote_code: Run the code in the folder.

    Raises:
        CheckpointError: The weights do not fit the configuration, or it is not a text model.
    """
    config = load_config(source, folder, trust_remote_code=trust_remote_code)
    if tokenizer is not None:
        fit_vocabulary(config, tokenizer)
    with quiet_transformers(), _plain_error(source):
        backbone = (
            _load_weights(source, folder, config, trust=trust_remote_code)
            if source.pretrained
            else _random_model(config, trust=trust_remote_code)
        )
    backbone = _encoder_of(backbone)
    tower = TextTower(backbone, pooling=_choose_pooling(pooling, backbone.config, folder), pretrained=source.pretrained)
    tower.notes = correct_settings(backbone)
    _check_runs(tower, source.name)
    return tower


def rebuild_text(
    config_folder: Path, *, pooling: str, pretrained: bool, trust_remote_code: bool, adapters: Adapters | None = None
) -> TextTower:
    """Build a saved text tower's modules from its configuration; the weights are loaded by the caller.

    Raises:
        ArtifactError: The configuration needs code that only `trust_remote_code=True` may run.
        MissingDependencyError: It has adapters, and peft is not installed.
    """
    from transformers import CONFIG_MAPPING, AutoConfig

    data = json.loads((config_folder / "config.json").read_text(encoding="utf-8"))
    data = checked_config(data, "text/config.json", code=trust_remote_code)
    if data.get("model_type") not in CONFIG_MAPPING and not trust_remote_code:
        raise ArtifactError(
            f"The saved text backbone is of type {data.get('model_type')!r}, which this transformers does not "
            f"know: it needs code from "
            "its checkpoint. If you trust that code: Predictor.load(path, trust_remote_code=True)."
        )
    with quiet_transformers():
        if trust_remote_code:
            config = AutoConfig.from_pretrained(str(config_folder), trust_remote_code=True)
        else:
            config = CONFIG_MAPPING[data["model_type"]].from_dict(data)
        backbone = _encoder_of(_random_model(config, trust=trust_remote_code))
    correct_settings(backbone)
    tower = TextTower(backbone, pooling=pooling, pretrained=pretrained)
    if adapters is not None:
        inject(tower.backbone, adapters)
        tower.adapters = adapters
    return tower


def load_config(source: Source, folder: Path | None, *, trust_remote_code: bool = False) -> PretrainedConfig:
    """Load or make a text backbone's configuration.

    Raises:
        CheckpointError: transformers cannot read it.
    """
    from transformers import CONFIG_MAPPING, AutoConfig

    if source.kind == "architecture":
        kind, changes = ARCHITECTURES.get(source.location, (source.location, {}))
        return CONFIG_MAPPING[kind](**changes)
    with _plain_error(source), quiet_transformers():
        return AutoConfig.from_pretrained(str(folder), trust_remote_code=trust_remote_code)


def _load_weights(source: Source, folder: Path | None, config: Any, *, trust: bool) -> nn.Module:
    from transformers import AutoModel

    arguments: dict[str, Any] = {
        "config": config,
        "output_loading_info": True,
        "dtype": torch.float32,
        "trust_remote_code": trust,
    }
    try:  # a pooler that is not used would be parameters without gradients
        model, info = AutoModel.from_pretrained(str(folder), add_pooling_layer=False, **arguments)
    except TypeError:
        model, info = AutoModel.from_pretrained(str(folder), **arguments)
    names = {name for name, _ in model.named_parameters()}
    missing = {key for key in info["missing_keys"] if key in names and "pooler" not in key.split(".")}
    mismatched = list(info.get("mismatched_keys", ()))
    if missing or mismatched:
        raise CheckpointError(
            f"The weights of {source.name!r} do not fit its configuration: {len(missing)} of {len(names)} "
            f"parameters are missing "
            f"(first: {sorted(missing)[:3]}), {len(mismatched)} have another shape. They would have been random."
        )
    loaded: nn.Module = model
    return loaded


def _random_model(config: Any, *, trust: bool) -> nn.Module:
    from transformers import AutoModel

    try:
        model: nn.Module = AutoModel.from_config(config, add_pooling_layer=False, trust_remote_code=trust)
    except TypeError:
        model = AutoModel.from_config(config, trust_remote_code=trust)
    return model.float()


def _encoder_of(model: Any) -> nn.Module:
    """Return the encoder of an encoder-decoder, any other model as it is."""
    if getattr(model.config, "is_encoder_decoder", False):
        encoder: nn.Module = model.get_encoder()
        return encoder
    return model  # type: ignore[no-any-return]


def _choose_pooling(pooling: str, config: Any, folder: Path | None) -> str:
    """Return the pooling; `auto`: that of pretraining, else the last token of a decoder, the mean of an encoder."""
    if pooling != "auto":
        return pooling
    recipe = folder / "1_Pooling" / "config.json" if folder else None
    if recipe is not None and recipe.is_file():
        settings = json.loads(recipe.read_text(encoding="utf-8"))
        if settings.get("pooling_mode_cls_token"):
            return "cls"
        return "last" if settings.get("pooling_mode_lasttoken") else "mean"
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    )

    kind = config.model_type
    causal = kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and kind not in MODEL_FOR_MASKED_LM_MAPPING_NAMES
    encoder_part = getattr(config, "is_encoder_decoder", False)
    return "last" if causal and not encoder_part else "mean"


def _check_runs(tower: TextTower, name: str) -> None:
    try:
        tower.features = int(tower.trial().shape[-1])
        tower.read_pair(JOINT)
    except Exception as error:
        raise CheckpointError(
            f"{name!r} does not work as a text backbone ({type(error).__name__}: "
            f"{first_line(error)}). Choose an "
            "encoder or decoder that takes token ids."
        ) from error


@contextmanager
def _plain_error(source: Source) -> Iterator[None]:
    try:
        yield
    except (CheckpointError, KeyboardInterrupt, MemoryError):
        raise
    except Exception as error:
        raise CheckpointError(
            f"The checkpoint {source.name!r} cannot be loaded by transformers ({type(error).__name__}: "
            f"{first_line(error)}). Check that the "
            "folder is whole and that the installed transformers knows its model_type; code that a checkpoint "
            "brings runs only "
            "with `trust_remote_code=true`."
        ) from error
