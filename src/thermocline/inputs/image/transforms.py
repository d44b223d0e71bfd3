"""Transforms from an image to the uint8 pixels that a backbone takes, with and without augmentation."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from thermocline.inputs.image.spec import ImageSpec

if TYPE_CHECKING:
    from PIL.Image import Image


@lru_cache(maxsize=8)
def plain_transform(spec: ImageSpec) -> Callable[[Image], np.ndarray]:
    """Return resize and centre crop as in the backbone's own evaluation, to uint8 `(3, height, width)`."""
    from torchvision.transforms import v2

    mode = v2.InterpolationMode(spec.interpolation)
    height, width = spec.size
    enlarged = [int(np.floor(side / spec.crop_fraction)) for side in spec.size]
    steps: list[Any] = [
        v2.Resize(enlarged if spec.squash or height != width else enlarged[0], interpolation=mode, antialias=True),
        v2.CenterCrop([height, width]),
    ]
    return _to_array(v2.Compose(steps))


@lru_cache(maxsize=8)
def train_transform(spec: ImageSpec, strength: str) -> Callable[[Image], np.ndarray]:
    """Return the augmentation of a strength, by torchvision v2.

    `light` crops (at least 60 % of the area) and changes brightness, contrast and saturation; `standard` crops,
    mirrors and applies TrivialAugment (Müller and Hutter, ICCV 2021).
    """
    from torchvision.transforms import v2

    mode = v2.InterpolationMode(spec.interpolation)
    steps: list[Any] = [
        v2.RandomResizedCrop(list(spec.size), scale=(0.6, 1.0), ratio=(0.85, 1.18), interpolation=mode, antialias=True)
    ]
    if strength == "standard":
        steps += [v2.RandomHorizontalFlip(), v2.TrivialAugmentWide(interpolation=v2.InterpolationMode.BILINEAR)]
    else:
        steps.append(v2.ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2))
    return _to_array(v2.Compose(steps))


def _to_array(transform: Callable[[Image], Image]) -> Callable[[Image], np.ndarray]:
    def apply(image: Image) -> np.ndarray:
        return np.asarray(transform(image), dtype=np.uint8).transpose(2, 0, 1)

    return apply
