"""Transforms from an image to the uint8 pixels that a backbone takes, with and without augmentation."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from thermocline.inputs.image.spec import ImageSpec

if TYPE_CHECKING:
    from PIL.Image import Image

MOST_PIXELS = 2**24  # of a resized image before it is cropped, 50 MB
TIMES_CROP = 16  # or so many times the crop, where crops are large


@lru_cache(maxsize=8)
def plain_transform(spec: ImageSpec) -> Callable[[Image], np.ndarray]:
    """Return resize and centre crop as in the backbone's own evaluation, to uint8 `(3, height, width)`.

    Of an image so long that it would be resized to more than `MOST_PIXELS`, only what the crop keeps is resized.
    """
    from torchvision.transforms import v2

    mode = v2.InterpolationMode(spec.interpolation)
    height, width = spec.size
    enlarged = [int(np.floor(side / spec.crop_fraction)) for side in spec.size]
    keeps_aspect = not spec.squash and height == width
    steps: list[Any] = [
        v2.Resize(enlarged[0] if keeps_aspect else enlarged, interpolation=mode, antialias=True),
        v2.CenterCrop([height, width]),
    ]
    whole = v2.Compose(steps)
    most = max(MOST_PIXELS, TIMES_CROP * height * width)

    def apply(image: Image) -> Image:
        size = _resized_size(image, enlarged[0])
        if keeps_aspect and size[0] * size[1] > most:
            return _centre(image, size, height, spec.interpolation)
        resized: Image = whole(image)
        return resized

    return _to_array(apply)


def _resized_size(image: Image, shorter: int) -> tuple[int, int]:
    """Return width and height of an image whose shorter side becomes so long, as torchvision counts them."""
    width, height = image.size
    return (shorter, int(shorter * height / width)) if width <= height else (int(shorter * width / height), shorter)


def _centre(image: Image, size: tuple[int, int], side: int, interpolation: str) -> Image:
    """Return the centre crop of an image resized to `size`, without resizing the rest of it."""
    from PIL import Image as pil

    starts = [round((whole - side) / 2) for whole in size]
    scales = [own / whole for own, whole in zip(image.size, size, strict=True)]
    left, upper = (start * scale for start, scale in zip(starts, scales, strict=True))
    right, lower = ((start + side) * scale for start, scale in zip(starts, scales, strict=True))
    box = (max(left, 0.0), max(upper, 0.0), min(right, image.width), min(lower, image.height))
    return image.resize((side, side), pil.Resampling[interpolation.upper()], box=box)


@lru_cache(maxsize=8)
def train_transform(spec: ImageSpec, strength: str, erasing: float = 0.0) -> Callable[[Image], np.ndarray]:
    """Return the augmentation of a strength, by torchvision v2.

    `light` crops (at least 60 % of the area) and changes brightness, contrast and saturation; `standard` crops,
    mirrors and applies TrivialAugment (Müller and Hutter, ICCV 2021); `rand_augment` crops, mirrors and applies
    RandAugment (Cubuk et al., NeurIPS 2020), two operations of magnitude 9.

    Args:
        spec: The pixels that the backbone takes.
        strength: One of these.
        erasing: The share of images in which a rectangle takes the mean colour (Random Erasing: Zhong et al., AAAI
            2020).
    """
    from torchvision.transforms import v2

    mode = v2.InterpolationMode(spec.interpolation)
    steps: list[Any] = [
        v2.RandomResizedCrop(list(spec.size), scale=(0.6, 1.0), ratio=(0.85, 1.18), interpolation=mode, antialias=True)
    ]
    if strength == "light":
        steps.append(v2.ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2))
    else:
        policy = v2.TrivialAugmentWide if strength == "standard" else v2.RandAugment
        steps += [v2.RandomHorizontalFlip(), policy(interpolation=v2.InterpolationMode.BILINEAR)]
    varied = _to_array(v2.Compose(steps))
    return lambda image: erase(varied(image), spec, erasing)


def erase(pixels: np.ndarray, spec: ImageSpec, share: float) -> np.ndarray:
    """Return uint8 pixels `(3, height, width)`, in which with this chance a rectangle has the mean colour."""
    if not share:
        return pixels
    import torch
    from torchvision.transforms import v2

    transform = v2.RandomErasing(p=share, value=[255 * one for one in spec.mean])
    return np.asarray(transform(torch.from_numpy(np.ascontiguousarray(pixels))).numpy())


def _to_array(transform: Callable[[Image], Image]) -> Callable[[Image], np.ndarray]:
    def apply(image: Image) -> np.ndarray:
        return np.asarray(transform(image), dtype=np.uint8).transpose(2, 0, 1)

    return apply
