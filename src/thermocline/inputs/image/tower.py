"""The image tower: any timm model, or a transformers vision model, with its own preprocessing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from thermocline.backbones.adapters import Adapters, inject
from thermocline.backbones.pretrained import Source, unreachable
from thermocline.backbones.traps import mend_traps
from thermocline.errors import CheckpointError, ConfigError, first_line
from thermocline.inputs.image.spec import ImageSpec
from thermocline.inputs.text.tower import quiet_transformers

RESAMPLING = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}  # Pillow's codes


class ImageTower(nn.Module):
    """An image backbone that gives one vector an image; several image columns lie side by side.

    Args:
        backbone: Maps pixels `(images, 3, height, width)` to features `(images, features)` (timm) or to a transformers
            output.
        spec: The preprocessing that fits the backbone; pixels arrive as uint8 and are normalised here.
        columns: Number of image columns.

    Attributes:
        width: Features a row: those of an image × columns. A missing image's features are zeros.
        adapters: What was put into the backbone since, if anything.
    """

    def __init__(self, backbone: nn.Module, spec: ImageSpec, *, columns: int, pretrained: bool) -> None:
        super().__init__()
        self.backbone = backbone.to(memory_format=torch.channels_last)  # convolutions take a third less time
        self.spec = spec
        self.pretrained = pretrained
        self.columns = columns
        self.notes: tuple[str, ...] = ()
        self.adapters: Adapters | None = None
        self._class_token = any(name.endswith("cls_token") for name, _ in backbone.named_parameters())
        self.mean: torch.Tensor
        self.std: torch.Tensor
        self.register_buffer("mean", torch.tensor(spec.mean).view(1, 3, 1, 1) * 255, persistent=False)
        self.register_buffer("std", torch.tensor(spec.std).view(1, 3, 1, 1) * 255, persistent=False)
        self.features = int(self.trial().shape[1])
        self.width = self.features * columns

    def forward(self, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Map `pixels` uint8 `(rows, columns, 3, h, w)` and `present` bool `(rows, columns)` to `(rows, width)`."""
        present = batch["present"]
        rows, columns = present.shape
        if bool(present.all()):
            return self.encode(batch["pixels"].flatten(0, 1)).view(rows, columns * self.features)
        out = torch.zeros(rows, columns, self.features, device=present.device)
        if bool(present.any()):
            features = self.encode(batch["pixels"][present])
            out = out.to(features.dtype).index_put((present,), features)
        return out.view(rows, -1)

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        """Map uint8 pixels `(images, 3, h, w)` to features `(images, features)`."""
        normalised = (pixels.to(self.mean.dtype) - self.mean) / self.std
        out = self.backbone(normalised.contiguous(memory_format=torch.channels_last))
        if isinstance(out, torch.Tensor):
            return out.flatten(1)
        pooled = getattr(out, "pooler_output", None)
        if pooled is not None:
            return torch.as_tensor(pooled).flatten(1)
        states: torch.Tensor = out[0]
        if states.dim() == 4:
            return states.mean(dim=(-2, -1))
        return states[:, 0] if self._class_token else states.mean(dim=1)

    def trial(self) -> torch.Tensor:
        """Return the features of a black image, `(1, features)`, in eval mode and without gradients."""
        was_training = self.training
        self.eval()
        with torch.no_grad():
            features = self.encode(torch.zeros(1, 3, *self.spec.size, dtype=torch.uint8))
        self.train(was_training)
        return features


def build_image(source: Source, folder: Path | None, *, size: int | None, columns: int) -> ImageTower:
    """Build an image tower with its checkpoint's weights, or random ones where that was asked for.

    Args:
        source: What the checkpoint's name stands for.
        folder: Where it lies, for a folder or a fetched hub checkpoint.
        size: Pixels a side, or `None` for the model's own.
        columns: Number of image columns.

    Raises:
        CheckpointError: It cannot be fetched, or is no image model.
        ConfigError: The model does not take this size.
    """
    if source.library == "timm":
        model, spec = _timm_model(source, folder, size)
    else:
        model, spec = _transformers_model(source, folder, size)
    notes = mend_traps(model)
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
    """Return what `rebuild_image` needs, as plain data for JSON (a transformers configuration is saved beside it)."""
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
    mend_traps(model)
    spec = ImageSpec.from_dict(data["spec"])
    tower = ImageTower(model, spec, columns=data["columns"], pretrained=data["pretrained"])
    if adapters := data.get("adapters"):
        tower.adapters = Adapters.from_dict(adapters)
        inject(tower.backbone, tower.adapters)
    return tower


def model_size(source: Source, folder: Path | None) -> tuple[int, bool]:
    """Return the size in pixels that a backbone was trained at, and whether it takes others, without building it."""
    if source.library == "timm":
        import timm

        if folder is not None:
            config = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("pretrained_cfg", {})
        else:
            entry = timm.models.get_pretrained_cfg(source.location)
            config = entry.to_dict() if entry is not None else {}
        side = int((config.get("input_size") or (3, 224, 224))[-1])
        return side, not config.get("fixed_input_size", False)
    spec = _transformers_spec(folder, None)
    return spec.size[0], False


def _timm_model(source: Source, folder: Path | None, size: int | None) -> tuple[nn.Module, ImageSpec]:
    import timm

    name = f"local-dir:{folder}" if folder is not None else source.location
    arguments: dict[str, Any] = {}
    if folder is not None:
        saved = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        architecture, arguments = saved["architecture"], dict(saved.get("model_args") or {})
        for key in ("num_classes", "checkpoint_path", "pretrained_cfg", "pretrained_cfg_overlay", "cache_dir"):
            arguments.pop(key, None)  # the head is left out, and weights come from this folder alone
        if not timm.is_model(architecture):
            raise CheckpointError(f"{folder}/config.json names {architecture!r}, which this timm does not know.")
    else:
        architecture = source.location
    own, flexible = model_size(source, folder)
    if size is not None and size != own and not flexible:
        arguments["img_size"] = size
    try:
        model = timm.create_model(name, pretrained=source.pretrained, num_classes=0, **arguments)
    except (OSError, ConnectionError) as error:
        raise unreachable(source.name, "model.image", error) from None
    except Exception as error:
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
    config = timm.data.resolve_model_data_config(model)
    side = size or int(config["input_size"][-1])
    model.thermocline_timm = {"architecture": architecture, **arguments}
    spec = ImageSpec(
        (side, side),
        tuple(config["mean"]),
        tuple(config["std"]),
        config["interpolation"],
        float(config["crop_pct"]),
        config.get("crop_mode") == "squash",
    )
    return model, spec


def _transformers_model(source: Source, folder: Path | None, size: int | None) -> tuple[nn.Module, ImageSpec]:
    from transformers import CONFIG_MAPPING, AutoConfig, AutoModel

    with quiet_transformers():
        try:
            if folder is None:
                model = AutoModel.from_config(CONFIG_MAPPING[source.location]())
            elif source.pretrained:
                model, info = AutoModel.from_pretrained(
                    str(folder), output_loading_info=True, dtype=torch.float32, trust_remote_code=False
                )
                _check_loaded(model, info, source.name)
                if any("pooler" in key.split(".") for key in info["missing_keys"]):
                    model.pooler = None  # the checkpoint has none; a random one would stand before every feature
            else:
                model = AutoModel.from_config(AutoConfig.from_pretrained(str(folder), trust_remote_code=False))
        except CheckpointError:
            raise
        except Exception as error:
            raise CheckpointError(
                f"transformers cannot load the image checkpoint {source.name!r} ({type(error).__name__}: "
                f"{first_line(error)}). Check that the folder is whole."
            ) from error
    model = getattr(model, "vision_model", model)
    own = getattr(model.config, "image_size", None)
    spec = _transformers_spec(folder, own if isinstance(own, int) else None)
    return model.float(), spec if size is None else replace(spec, size=(size, size))


def _check_loaded(model: nn.Module, info: Mapping[str, Any], name: str) -> None:
    names = {key for key, _ in model.named_parameters()}
    missing = {k for k in info["missing_keys"] if k in names and "pooler" not in k.split(".")}
    if missing:
        raise CheckpointError(
            f"The weights of {name!r} do not fit its configuration: {len(missing)} of {len(names)} parameters "
            f"are missing (first: "
            f"{sorted(missing)[:3]}). They would have been random."
        )


def _transformers_spec(folder: Path | None, own_size: int | None) -> ImageSpec:
    """Read the checkpoint's image processor; where there is none, 224 pixels and mean and deviation 0.5."""
    data = _processor(folder)
    resize = data.get("size") or own_size or 224
    if isinstance(resize, int):
        resize = {"shortest_edge": resize}
    shortest = int(resize.get("shortest_edge") or resize.get("height") or own_size or 224)
    crop = data.get("crop_size") if data.get("do_center_crop") else None
    side = int(crop["height"] if isinstance(crop, dict) else crop) if crop else shortest
    fraction, squash = min(1.0, side / shortest), "height" in resize and not crop
    if "crop_pct" in data and not crop:  # ConvNeXt's: smaller images are enlarged and cropped, larger ones squashed
        fraction, squash = (float(data["crop_pct"]), False) if shortest < 384 else (1.0, True)
    plain = data.get("do_normalize") is False
    return ImageSpec(
        (side, side),
        (0.0, 0.0, 0.0) if plain else tuple(data.get("image_mean") or (0.5, 0.5, 0.5)),
        (1.0, 1.0, 1.0) if plain else tuple(data.get("image_std") or (0.5, 0.5, 0.5)),
        RESAMPLING[int(data.get("resample", 2))],
        fraction,
        squash,
    )


def _processor(folder: Path | None) -> dict[str, Any]:
    """Return the image processor's settings; transformers 5 writes a dual model's inside `processor_config.json`."""
    for name in ("preprocessor_config.json", "processor_config.json"):
        file = folder / name if folder else None
        if file is not None and file.is_file():
            data = json.loads(file.read_text(encoding="utf-8"))
            found: dict[str, Any] = data if name.startswith("pre") else data.get("image_processor") or {}
            if found:
                return found
    return {}
