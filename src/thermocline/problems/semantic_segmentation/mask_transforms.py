"""Augmentation of an image together with its mask, by torchvision's tv_tensors."""

from __future__ import annotations

from typing import Any

import torch

from thermocline.inputs.image.joint_transforms import colour_steps, mode_of, resized
from thermocline.problems.semantic_segmentation.segmenter_spec import SegmentationSpec

_LEAST_AREA = {"light": 0.6, "standard": 0.25, "rand_augment": 0.25}
"""Least share of the image that a crop holds."""
_STRETCH = 4 / 3


def plain(pixels: torch.Tensor, mask: torch.Tensor | None, spec: SegmentationSpec) -> tuple[Any, Any]:
    """Return an image and its mask in the size of the input; the mask takes the nearest pixel.

    Args:
        pixels: uint8 `(3, height, width)`.
        mask: int64 `(height, width)`, or None.
        spec: The size of the input.
    """
    small = resized(pixels, spec.size, spec.interpolation)
    return small, None if mask is None else resized_mask(mask, spec.size)


def augmented(
    pixels: torch.Tensor, mask: torch.Tensor, spec: SegmentationSpec, strength: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return an augmented image and its mask in the size of the input.

    A crop of a quarter of the image or more (`light`: six tenths) is resized to the input, mirrored, and its colours
    are shifted. The mask takes the same crop and mirror. `rand_augment` is as `standard`: its other steps would change
    what pixels show.

    Random numbers come from torch's global generator, which the caller seeds.

    Args:
        pixels: uint8 `(3, height, width)`.
        mask: int64 `(height, width)`.
        spec: The size of the input.
        strength: `light`, `standard` or `rand_augment`.
    """
    from torchvision import tv_tensors
    from torchvision.transforms import v2

    aspect = spec.size[1] / spec.size[0]
    crop = v2.RandomResizedCrop(
        list(spec.size),
        scale=(_LEAST_AREA[strength], 1.0),
        ratio=(aspect / _STRETCH, aspect * _STRETCH),
        interpolation=v2.InterpolationMode(mode_of(spec.interpolation)),
        antialias=spec.interpolation != "nearest",
    )
    steps = v2.Compose([crop, v2.RandomHorizontalFlip(), *colour_steps(strength)])
    image, out = steps(tv_tensors.Image(pixels), tv_tensors.Mask(mask))
    return image.as_subclass(torch.Tensor), out.as_subclass(torch.Tensor)


def resized_mask(mask: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Return a mask int64 `(height, width)` in another size, each pixel the nearest one."""
    from torchvision.transforms.v2 import InterpolationMode, functional

    if tuple(mask.shape) == size:
        return mask
    out: torch.Tensor = functional.resize(mask[None], list(size), InterpolationMode.NEAREST_EXACT)
    return out[0]
