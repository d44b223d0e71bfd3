"""Inputs of one forward pass, made from the configuration of a timm or transformers model: shapes, no meaning."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn

_TOKENS = 12
#: Inputs that make as much of a model run as they can.
_COMMON_INPUTS = (
    "input_ids",
    "attention_mask",
    "bbox",
    "visual_feats",
    "visual_pos",
    "pixel_values",
    "pixel_values_videos",
    "aspect_ratio_ids",
    "aspect_ratio_mask",
    "task_inputs",
    "input_features",
    "input_values",
)
_REGIONS = 5
_GRID = 4
_SAMPLES = 16_000  # a second of sound
_MOST_FRAMES = 3_000  # what Whisper needs

Example = Mapping[str, Any] | tuple[Any, ...]


def examples_of(model: nn.Module) -> Iterator[Example]:
    """Yield inputs that a forward pass may take, likeliest first; none for a model without a known configuration."""
    timm_config = getattr(model, "pretrained_cfg", None) or getattr(model, "default_cfg", None)
    if isinstance(timm_config, Mapping):
        yield from _images(model, timm_config)
    config = getattr(model, "config", None)
    if hasattr(config, "to_dict") and isinstance(getattr(model, "main_input_name", None), (str, list)):
        yield from _of_config(model, config)


def _images(model: nn.Module, timm_config: Mapping[str, Any]) -> Iterator[Example]:
    channels, *sizes = timm_config.get("input_size", (3, 224, 224))
    own = getattr(getattr(model, "patch_embed", None), "img_size", None)
    tried = [tuple(sizes), *([_pair(own)] if own else []), (224, 224), (256, 256), (64, 64)]
    for height, width in dict.fromkeys(tried):
        yield (torch.empty(1, channels, height, width, device="meta"),)


def _pair(size: Any) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))


def _of_config(model: Any, config: Any) -> Iterator[Example]:
    parameters = inspect.signature(model.forward).parameters
    wanted = [name for name, p in parameters.items() if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD]
    main = model.main_input_name
    names = dict.fromkeys([*([main] if isinstance(main, str) else main), *wanted])
    if "decoder_input_ids" in parameters and getattr(config, "is_encoder_decoder", False):
        names["decoder_input_ids"] = None
    plain = [name for name in names if name in parameters]
    several = [name for name in _COMMON_INPUTS if name in parameters]
    common = {"use_cache": False} if "use_cache" in parameters else {}
    tried: list[dict[str, Any]] = []
    for chosen in ([*plain, *several], [*plain, "attention_mask"], plain):
        for variant in range(3):
            made = {name: _value_or_none(name, config, variant) for name in chosen if name in parameters}
            shapes = {name: getattr(value, "shape", None) for name, value in made.items()}
            if shapes not in tried and all(value is not None for value in made.values()):
                tried.append(shapes)
                yield {**made, **common}


def _value_or_none(name: str, config: Any, variant: int) -> Any:
    """One input, or None where the configuration does not say its shape in a way that is known."""
    try:
        return _value(name, config, variant)
    except (TypeError, ValueError, AttributeError, IndexError, RuntimeError):
        return None


def _value(name: str, config: Any, variant: int) -> Any:
    """One input by its name; variants differ in what a name alone does not tell (frames, layout)."""
    if name in ("input_ids", "decoder_input_ids"):
        return _token_ids(config)
    if name in ("attention_mask", "decoder_attention_mask"):
        return torch.ones(1, _TOKENS, dtype=torch.int64)
    if name == "task_inputs":
        return torch.ones(1, getattr(config, "task_seq_len", 77), dtype=torch.int64)
    if name in ("visual_feats", "visual_pos"):
        return torch.empty(1, _REGIONS, getattr(config, f"{name.removesuffix('s')}_dim", 4), device="meta")
    if name == "hidden_states":
        return _patches(config)
    if name == "grid_thw":
        return torch.tensor([[1, _GRID, _GRID]])
    if name == "bbox":
        wide = getattr(
            config, "dim_bbox", None
        )  # BROS takes corners as numbers, LayoutLM and its relatives boxes as indices
        return torch.zeros(1, _TOKENS, wide) if wide else torch.zeros(1, _TOKENS, 4, dtype=torch.int64)
    if name in ("pixel_values", "pixel_values_videos"):
        return _pixels(config, video=name.endswith("videos") or variant > 0, channels_first=variant == 2)
    if name.startswith("aspect_ratio_"):  # the size of each image, by its number, and which tiles it fills
        return torch.ones((1, 1) if name.endswith("ids") else (1, 1, _tiles(config)), dtype=torch.int64)
    if name == "input_values":
        return _sound(config, variant)
    if name == "input_features":
        return _spectrum(config, variant)
    return None


def _token_ids(config: Any) -> torch.Tensor:
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    size = getattr(text, "vocab_size", None) or 100
    ids = torch.arange(5, 5 + _TOKENS).remainder(max(int(size), 1))
    end = getattr(text, "eos_token_id", None)
    if isinstance(end, int) and 0 <= end < size:
        ids[-1] = end
    return ids.unsqueeze(0)


def _first(config: Any, *names: str, default: Any) -> Any:
    """The first of these that the config, or a config inside it, sets."""
    inner = [one for one in vars(config).values() if hasattr(one, "to_dict")]
    for one in (config, *inner):
        for name in names:
            value = getattr(one, name, None)
            if value is not None:
                return value
    return default


def _pixels(config: Any, *, video: bool, channels_first: bool) -> torch.Tensor:
    height, width = _pair(_first(config, "image_size", "img_size", "input_size", "crop_size", default=224))
    channels = _first(config, "num_channels", "in_channels", default=3)
    if _tiles(config) and not video:
        return torch.empty(1, 1, _tiles(config), channels, height, width, device="meta")
    if not video:
        return torch.empty(1, channels, height, width, device="meta")
    frames = _first(config, "num_frames", "frames_per_clip", default=2)
    shape = (channels, frames) if channels_first else (frames, channels)
    return torch.empty(1, *shape, height, width, device="meta")


def _tiles(config: Any) -> int:
    """Into how many tiles Mllama cuts each image of a row; 0 for any other model."""
    return int(_first(config, "max_num_tiles", default=0))


def _patches(config: Any) -> torch.Tensor:
    """Patches as the vision towers of Qwen models take them: one row each, frames, channels and pixels flattened."""
    side, frames = _first(config, "patch_size", default=14), _first(config, "temporal_patch_size", default=2)
    channels = _first(config, "in_channels", "in_chans", "num_channels", default=3)
    return torch.empty(_GRID * _GRID, int(channels) * int(frames) * int(side) ** 2, device="meta")


def _sound(config: Any, variant: int) -> torch.Tensor:
    if variant == 0 and not hasattr(config, "num_mel_bins"):
        return torch.empty(1, _SAMPLES, device="meta")
    mel, length = _first(config, "num_mel_bins", default=80), _first(config, "max_length", default=200)
    return torch.empty((1, length, mel) if variant < 2 else (1, 1, _SAMPLES), device="meta")


def _spectrum(config: Any, variant: int) -> torch.Tensor:
    mel = _first(
        config,
        "num_mel_bins",
        "feature_projection_input_dim",
        "input_feat_per_channel",
        "feature_size",
        "input_dim",
        default=80,
    )
    length = min(2 * int(_first(config, "max_source_positions", default=100)), _MOST_FRAMES)
    shape = ((1, mel, length), (1, length, mel), (1, 1, length, mel))[variant]
    return torch.empty(shape, device="meta")
