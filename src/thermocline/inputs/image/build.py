"""Builds image towers: from pretrained weights, at random, and again from a saved predictor."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from thermocline.backbones.adapters import Adapters, inject
from thermocline.backbones.library_settings import correct_settings, quiet_transformers
from thermocline.backbones.pretrained import Source, unreachable
from thermocline.backbones.saved_config import checked_config
from thermocline.errors import CheckpointError, ConfigError, first_line
from thermocline.inputs.image.preprocessor import transformers_spec
from thermocline.inputs.image.spec import ImageSpec
from thermocline.inputs.image.tower import ImageTower

NO_DROP_PATH = (
    "The image backbone {name!r} skips no blocks in training, so model.image.drop_path has no effect on it. "
    "Leave it out, or choose another backbone, such as a vision transformer or a ConvNeXt."
)


def build_image(
    source: Source, folder: Path | None, *, size: int | None, columns: int, drop_path: float | None = None
) -> ImageTower:
    """Build an image tower with pretrained weights, or random ones where that was asked for.

    Args:
        source: Where the backbone comes from.
        folder: Its folder, or None for an architecture.
        size: Pixels a side, or `None` for the model's own.
        columns: Number of image columns.
        drop_path: Highest share of images for which a block is skipped in training (stochastic depth: Huang et al.,
            ECCV 2016); it rises from 0 at the first block. None: as the model is built by default.

    Raises:
        CheckpointError: It cannot be fetched, or is no image model.
        ConfigError: The model does not take this size, or skips no blocks.
    """
    if source.library == "timm":
        model, spec = _timm_model(source, folder, size, drop_path)
    else:
        model, spec = _transformers_model(source, folder, size, drop_path)
    notes = correct_settings(model)
    try:
        tower = ImageTower(model, spec, columns=columns, pretrained=source.pretrained)
    except Exception as error:
        raise ConfigError(
            f"The image backbone {source.name!r} does not run on images of {spec.size[0]}×{spec.size[1]} "
            f"({type(error).__name__}: "
            f"{first_line(error)}). Leave `model.image.size` at null for the model's own size."
        ) from error
    tower.notes = notes
    return tower


def describe_image(tower: ImageTower) -> dict[str, Any]:
    """Return what `rebuild_image` needs, as plain data for JSON."""
    config = getattr(tower.backbone, "config", None)
    timm_part = getattr(tower.backbone, "thermocline_timm", None)
    return {
        "library": "timm" if timm_part is not None else "transformers",
        "timm": timm_part,
        "config": None if config is None else config.to_dict(),
        "spec": tower.spec.to_dict(),
        "columns": tower.columns,
        "pretrained": tower.pretrained,
        "pooler": getattr(tower.backbone, "pooler", None) is not None,
        "adapters": None if tower.adapters is None else tower.adapters.to_dict(),
    }


def check_description(described: Mapping[str, Any]) -> dict[str, Any]:
    """Return a tower's description, checked to name no other file, hub or code to load.

    Raises:
        ValueError: It does.
    """
    from timm import is_model

    arguments = checked_config(described["timm"] or {}, "towers.json: image.tower.timm")
    if arguments and not is_model(arguments["architecture"]):
        raise ValueError(f"towers.json: {arguments['architecture']!r} is no model that this timm builds by itself")
    config = checked_config(described["config"] or {}, "towers.json: image.tower.config")
    return {**described, "timm": arguments or None, "config": config or None}


def rebuild_image(data: Mapping[str, Any]) -> ImageTower:
    """Build a saved image tower's modules; the weights are loaded by the caller.

    Raises:
        MissingDependencyError: It has adapters, and peft is not installed.
    """
    if data["library"] == "timm":
        import timm

        arguments = dict(data["timm"])
        model = timm.create_model(arguments.pop("architecture"), pretrained=False, num_classes=0, **arguments)
        model.thermocline_timm = data["timm"]
    else:
        from transformers import CONFIG_MAPPING, AutoModel

        config = CONFIG_MAPPING[data["config"]["model_type"]].from_dict(data["config"])
        with quiet_transformers():
            model = AutoModel.from_config(config)
        if not data.get("pooler", True) and hasattr(model, "pooler"):
            model.pooler = None
    correct_settings(model)
    spec = ImageSpec.from_dict(data["spec"])
    tower = ImageTower(model, spec, columns=data["columns"], pretrained=data["pretrained"])
    if adapters := data.get("adapters"):
        tower.adapters = Adapters.from_dict(adapters)
        inject(tower.backbone, tower.adapters)
    return tower


def model_size(source: Source, folder: Path | None) -> tuple[int, bool]:
    """Return the side in pixels that a backbone was trained at, and whether it takes others, without building it."""
    if source.library == "timm":
        import timm

        if folder is not None:
            config = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("pretrained_cfg", {})
        else:
            entry = timm.models.get_pretrained_cfg(source.location)
            config = entry.to_dict() if entry is not None else {}
        side = int((config.get("input_size") or (3, 224, 224))[-1])
        return side, not config.get("fixed_input_size", False)
    spec = transformers_spec(folder, None)
    return spec.size[0], False


def _timm_model(
    source: Source, folder: Path | None, size: int | None, drop_path: float | None
) -> tuple[nn.Module, ImageSpec]:
    import timm

    name = f"local-dir:{folder}" if folder is not None else source.location
    arguments: dict[str, Any] = {}
    if folder is not None:
        saved = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        architecture, arguments = saved["architecture"], dict(saved.get("model_args") or {})
        for key in ("num_classes", "checkpoint_path", "pretrained_cfg", "pretrained_cfg_overlay", "cache_dir"):
            arguments.pop(key, None)  # no head, and weights from this folder only
        if not timm.is_model(architecture):
            raise CheckpointError(f"{folder}/config.json names {architecture!r}, which this timm does not know.")
    else:
        architecture = source.location
    own, flexible = model_size(source, folder)
    if size is not None and size != own and not flexible:
        arguments["img_size"] = size
    if drop_path is not None:
        arguments["drop_path_rate"] = drop_path
    try:
        model = timm.create_model(name, pretrained=source.pretrained, num_classes=0, **arguments)
    except (OSError, ConnectionError) as error:
        raise unreachable(source.name, "model.image", error) from None
    except Exception as error:
        if "unexpected keyword argument 'drop_path_rate'" in str(error):
            raise ConfigError(NO_DROP_PATH.format(name=source.name)) from None
        if size is not None and "img_size" in arguments:
            raise ConfigError(
                f"{source.name!r} takes images of {own} pixels a side only, but model.image.size is {size}. Set "
                f"it to null."
            ) from error
        raise CheckpointError(
            f"timm cannot build {source.name!r} ({type(error).__name__}: {first_line(error)}). "
            f"Check that the weights "
            "fit the architecture."
        ) from error
    model.thermocline_timm = {"architecture": architecture, **arguments}
    return model, _timm_spec(model, size)


def _timm_spec(model: nn.Module, size: int | None) -> ImageSpec:
    import timm

    config = timm.data.resolve_model_data_config(model)
    side = size or int(config["input_size"][-1])
    return ImageSpec(
        (side, side),
        tuple(config["mean"]),
        tuple(config["std"]),
        config["interpolation"],
        float(config["crop_pct"]),
        config.get("crop_mode") == "squash",
    )


def _transformers_model(
    source: Source, folder: Path | None, size: int | None, drop_path: float | None
) -> tuple[nn.Module, ImageSpec]:
    from transformers import CONFIG_MAPPING, AutoConfig, AutoModel

    with quiet_transformers():
        try:
            if folder is None:
                config = CONFIG_MAPPING[source.location]()
            else:
                config = AutoConfig.from_pretrained(str(folder), trust_remote_code=False)
            _set_drop_path(config, drop_path, source.name)
            if source.pretrained and folder is not None:
                model, info = AutoModel.from_pretrained(
                    str(folder), config=config, output_loading_info=True, dtype=torch.float32, trust_remote_code=False
                )
                check_loaded(model, info, source.name)
                if any("pooler" in key.split(".") for key in info["missing_keys"]):
                    model.pooler = None  # without pretrained weights it would be random
            else:
                model = AutoModel.from_config(config)
        except (CheckpointError, ConfigError):
            raise
        except Exception as error:
            raise CheckpointError(
                f"transformers cannot load the image checkpoint {source.name!r} ({type(error).__name__}: "
                f"{first_line(error)}). Check that the folder is whole."
            ) from error
    model = getattr(model, "vision_model", model)
    own = getattr(model.config, "image_size", None)
    spec = transformers_spec(folder, own if isinstance(own, int) else None)
    return model.float(), spec if size is None else replace(spec, size=(size, size))


def _set_drop_path(config: Any, rate: float | None, name: str) -> None:
    """Set what a transformers configuration has of stochastic depth, its own or that of its vision part.

    Raises:
        ConfigError: It has none.
    """
    if rate is None:
        return
    both: tuple[Any, ...] = (config, getattr(config, "vision_config", None))
    parts = [one for one in both if hasattr(one, "drop_path_rate")]
    if not parts:
        raise ConfigError(NO_DROP_PATH.format(name=name))
    for one in parts:
        one.drop_path_rate = rate


def check_loaded(model: nn.Module, info: Mapping[str, Any], name: str) -> None:
    """Check that transformers found weights for all parameters but those of a pooler.

    Args:
        model: The model.
        info: The loading info that `from_pretrained` returned.
        name: What was asked for, for the message.

    Raises:
        CheckpointError: Some are missing.
    """
    names = {key for key, _ in model.named_parameters()}
    missing = {k for k in info["missing_keys"] if k in names and "pooler" not in k.split(".")}
    if missing:
        raise CheckpointError(
            f"The weights of {name!r} do not fit its configuration: {len(missing)} of {len(names)} parameters "
            f"are missing (first: "
            f"{sorted(missing)[:3]}). They would have been random."
        )
