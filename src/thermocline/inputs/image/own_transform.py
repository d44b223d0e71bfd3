"""A transform of the caller's own for training images: of torchvision v2, of albumentations, or any function."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from thermocline.errors import ConfigError, first_line
from thermocline.inputs.image.spec import ImageSpec
from thermocline.inputs.image.transforms import erase, plain_transform

if TYPE_CHECKING:
    from PIL.Image import Image

WHERE = "model.image.augment"
TAKES = (
    "A transform is called with a PIL image, one of albumentations with image=array, and returns a PIL image, an array "
    "(height, width, 3), or a tensor (3, height, width); of uint8, or floats from 0 to 1. Normalisation follows it here"
)
TRIED = (48, 64)  # height and width of the image that a transform is tried on


@contextmanager
def seeded(seed: int, transform: Any) -> Iterator[None]:
    """Seed what a transform may draw from: torch, NumPy, Python's `random`, and albumentations' own generator.

    The states of the first three are as before when the context ends.
    """
    import torch

    python, numbers = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)
        if hasattr(transform, "set_random_seed"):
            transform.set_random_seed(seed % 2**32)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numbers)


def own_transform(spec: ImageSpec, transform: Any, erasing: float = 0.0) -> Callable[[Image], np.ndarray]:
    """Return a function from an image to uint8 pixels `(3, height, width)`, as `train_transform` does.

    What the transform returns in another size is resized and cropped as at prediction.

    Args:
        spec: The pixels that the backbone takes.
        transform: The caller's own.
        erasing: The share of images in which a rectangle is erased.
    """
    plain = plain_transform(spec)

    def apply(image: Image) -> np.ndarray:
        changed = varied(transform, image)
        fits = (changed.height, changed.width) == tuple(spec.size)
        pixels = np.asarray(changed, dtype=np.uint8).transpose(2, 0, 1) if fits else plain(changed)
        return erase(pixels, spec, erasing)

    return apply


def varied(transform: Any, image: Image) -> Image:
    """Return what a transform makes of an RGB image, as an RGB image.

    Raises:
        ConfigError: It returns no image.
    """
    from PIL import Image as pil

    if type(transform).__module__.split(".")[0] == "albumentations":
        found = transform(image=np.asarray(image))
    else:
        found = transform(image)
    if isinstance(found, Mapping):
        found = found.get("image")
    if isinstance(found, pil.Image):
        return found.convert("RGB")
    if type(found).__module__.split(".")[0] in ("torch", "torchvision") and getattr(found, "ndim", 0) == 3:
        found = found.detach().cpu().numpy().transpose(1, 2, 0)
    if not isinstance(found, np.ndarray) or found.ndim != 3 or found.shape[2] != 3:
        shape = f" of shape {tuple(found.shape)}" if hasattr(found, "shape") else ""
        raise ConfigError(f"{WHERE}: the transform returned {type(found).__name__}{shape}. {TAKES}.")
    if np.issubdtype(found.dtype, np.floating):
        if not (np.isfinite(found).all() and found.min() >= -1e-3 and found.max() <= 1 + 1e-3):
            raise ConfigError(
                f"{WHERE}: the transform returned floats from {found.min():.3g} to {found.max():.3g}. {TAKES}, so "
                "leave Normalize out."
            )
        found = (found.clip(0, 1) * 255).round()
    return pil.fromarray(np.ascontiguousarray(found).astype(np.uint8))


def check_transform(transform: Any) -> None:
    """Try a transform on a small image, before anything is loaded.

    Raises:
        ConfigError: It is a class, raises, or returns no image.
    """
    from PIL import Image as pil

    if isinstance(transform, type):
        raise ConfigError(f"{WHERE}: {transform.__name__} is a class. Give an object of it, {transform.__name__}(…).")
    pixels = np.random.default_rng(0).integers(0, 256, (*TRIED, 3), dtype=np.uint8)
    with seeded(0, transform):
        try:
            varied(transform, pil.fromarray(pixels))
        except ConfigError:
            raise
        except Exception as error:
            raise ConfigError(
                f"{WHERE}: the transform raised {type(error).__name__} on an RGB image of {TRIED[1]}×{TRIED[0]} "
                f"({first_line(error)}). {TAKES}."
            ) from error
