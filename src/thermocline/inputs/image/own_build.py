"""Image towers over modules of the caller's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from thermocline.backbones.adapters import Adapters, inject
from thermocline.config import ResolvedConfig
from thermocline.errors import ConfigError
from thermocline.inputs.image.spec import MOST_PIXELS, ImageSpec
from thermocline.inputs.image.tower import ImageTower
from thermocline.inputs.own_backbone import OwnBackbone, OwnRecord, needed_again, own_backbone
from thermocline.inputs.own_outputs import ROWS, head_note, tried

OPTION = "model.image.checkpoint"
SIDE = 224
_SETTINGS = "pretrained_cfg = {'input_size': (3, 96, 96), 'mean': (…), 'std': (…)}"


def own_image(config: ResolvedConfig) -> OwnBackbone | None:
    """Return the module that was given for images, or None.

    Raises:
        ConfigError: The options name one that was not given.
    """
    return own_backbone(config, OPTION)


def build_own_image(own: OwnBackbone, config: ResolvedConfig, *, columns: int) -> ImageTower:
    """Build an image tower over a copy of a module.

    Args:
        own: The module.
        config: Says the size of images, and whether its weights count as pretrained.
        columns: Number of image columns.

    Raises:
        ConfigError: It does not run on images of this size, or gives no features; an option that it does not take.
    """
    options = config.model.image
    if options.drop_path is not None:
        raise ConfigError(
            f"model.image.drop_path={options.drop_path} is for backbones that are built by name. Set it in the module "
            "that you give as model=."
        )
    spec, notes = _spec_of(own.value, options.size)
    module = own.copied()
    side = f"{spec.size[0]}×{spec.size[1]}"
    called = f"module(pixels), pixels float32 ({ROWS}, 3, {spec.size[0]}, {spec.size[1]})"
    given = torch.linspace(-2, 2, ROWS * 3 * spec.size[0] * spec.size[1]).view(ROWS, 3, *spec.size)
    out = tried(module, lambda: module(given), called)
    if out.dim() == 4:
        notes += (f"its outputs {tuple(out.shape)} are averaged over their last two dimensions",)
    elif out.dim() == 3:
        notes += (f"its outputs {tuple(out.shape)} are tokens; a row has its class token, or their mean",)
    record = OwnRecord.of(own)
    tower = ImageTower(module, spec, columns=columns, pretrained=options.pretrained, own=record)
    notes += head_note(module, tower.features, "for those below it remove the head (reset_classifier(0) in timm)")
    counts = "count as pretrained (model.image.pretrained=false: as new)" if options.pretrained else "count as new"
    tower.notes = (f"{own.kind} of your own, on images of {side}; its weights as given {counts}", *notes)
    if frozen := sum(not one.requires_grad for one in own.value.parameters()):
        tower.notes += (f"{frozen} of its parameters had requires_grad=False; the plan decides (frozen_layers)",)
    return tower


def describe_own_image(tower: ImageTower) -> dict[str, Any]:
    """Return what `rebuild_own_image` needs, as plain data for JSON."""
    assert tower.own is not None
    return {
        "library": "own",
        "own": tower.own.to_dict(),
        "spec": tower.spec.to_dict(),
        "columns": tower.columns,
        "pretrained": tower.pretrained,
        "adapters": None if tower.adapters is None else tower.adapters.to_dict(),
    }


def rebuild_own_image(data: Mapping[str, Any], config: ResolvedConfig) -> ImageTower:
    """Build a saved tower over a copy of the module that is given again; the weights are loaded by the caller.

    Raises:
        ArtifactError: None was given, or it has other weights.
        MissingDependencyError: It has adapters, and peft is not installed.
    """
    record = OwnRecord.from_dict(data["own"])
    module = needed_again(config, OPTION, record).copied()
    spec = ImageSpec.from_dict(data["spec"])
    tower = ImageTower(module, spec, columns=data["columns"], pretrained=data["pretrained"], own=record)
    if adapters := data.get("adapters"):
        tower.adapters = Adapters.from_dict(adapters)
        inject(tower.backbone, tower.adapters)
    return tower


def _spec_of(module: nn.Module, size: int | None) -> tuple[ImageSpec, tuple[str, ...]]:
    """Return the pixels that a module takes, by its `pretrained_cfg` or `config`, and a note on what neither says.

    Raises:
        ConfigError: `pretrained_cfg` holds what is no mean or size.
    """
    from timm.data import resolve_data_config

    said: Any = getattr(module, "pretrained_cfg", None) or getattr(module, "default_cfg", None) or {}
    said = dict(said) if isinstance(said, Mapping) else said.to_dict() if hasattr(said, "to_dict") else {}
    own = getattr(getattr(module, "config", None), "image_size", None)
    own = said["input_size"][-1] if "input_size" in said else own if isinstance(own, int) else None
    _check_settings(module, said, own)
    settings: Any = resolve_data_config(pretrained_cfg=said or {"input_size": (3, SIDE, SIDE)})
    whole = {"crop_pct": 1.0, "interpolation": "bicubic"} if not said else {}
    settings = {**settings, **{key: one for key, one in whole.items() if key not in said}}
    side = size or own or SIDE
    spec = ImageSpec(
        (side, side),
        tuple(map(float, settings["mean"])),
        tuple(map(float, settings["std"])),
        settings["interpolation"],
        float(settings["crop_pct"]),
        settings.get("crop_mode") == "squash",
    )
    open_ones = [] if size or own else [f"images of {SIDE} pixels a side (model.image.size sets them)"]
    open_ones += [] if "mean" in said and "std" in said else [f"mean {spec.mean} and deviation {spec.std} of ImageNet"]
    if not open_ones:
        return spec, ()
    return spec, (f"it does not say what pixels it takes, so {', '.join(open_ones)}; module.{_SETTINGS} says it",)


def _check_settings(module: nn.Module, said: Mapping[str, Any], side: Any) -> None:
    wrong = [name for name in ("mean", "std") if name in said and not _is_three_numbers(said[name])]
    wrong += [] if side is None or (isinstance(side, int) and 1 <= side <= MOST_PIXELS) else ["input_size"]
    wrong += ["std"] if "std" in said and "std" not in wrong and min(said["std"]) <= 0 else []
    if wrong:
        raise ConfigError(
            f"{type(module).__name__}.pretrained_cfg holds {wrong[0]}={said.get(wrong[0], side)!r}. It is written as "
            f"timm does, {_SETTINGS}: three numbers each, a deviation above 0, pixels in 0..1."
        )


def _is_three_numbers(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) == 3 and all(isinstance(one, int | float) for one in value)
