"""Steps of augmentation and resizing that images share with boxes and masks, by torchvision's transforms v2."""

from __future__ import annotations

from typing import Any

import torch

_OF_TORCH = ("nearest", "bilinear", "bicubic")
"""The ways to resample that torch has; others become `bicubic`."""


def resized(pixels: torch.Tensor, size: tuple[int, int], interpolation: str) -> torch.Tensor:
    """Return uint8 pixels `(3, height, width)` in another size, smoothed where they shrink."""
    from torchvision.transforms.v2 import InterpolationMode, functional

    if tuple(pixels.shape[-2:]) == size:
        return pixels
    mode = mode_of(interpolation)
    smooth = interpolation != "nearest"
    out: torch.Tensor = functional.resize(pixels, list(size), InterpolationMode(mode), antialias=smooth)
    return out


def mode_of(interpolation: str) -> str:
    """Return a way to resample that torch has."""
    return interpolation if interpolation in _OF_TORCH else "bicubic"


def colour_steps(strength: str) -> list[Any]:
    """Return shifts of colour: `standard` is the distortion of SSD (Liu et al., ECCV 2016), `light` a little of it."""
    from torchvision.transforms import v2

    if strength == "light":
        return [v2.ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2)]
    return [v2.RandomPhotometricDistort(p=0.5)]
