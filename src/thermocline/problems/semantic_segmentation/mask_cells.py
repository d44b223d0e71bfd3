"""Reads the cells of a column of masks: image files, encoded bytes, PIL images and arrays."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from thermocline.inputs.image.cells import source_of
from thermocline.inputs.image.files import find_image
from thermocline.inputs.image.headers import opened
from thermocline.problems.semantic_segmentation.palette import NO_CLASS, Palette

if TYPE_CHECKING:
    from PIL.Image import Image

LARGEST = 65_535
"""The largest number that a mask of numbers may hold."""
_NUMBERS = ("1", "L", "P", "I", "I;16", "I;16B", "I;16L", "F")


def read_mask(cell: object, folder: Path | None, palette: Palette) -> np.ndarray:
    """Return the values of a mask, int32 `(height, width)`: numbers as they are, or of colours their class numbers.

    Pixels that belong to no class are `NO_CLASS`. A palette image holds its indices; where `data.mask_colors` is given,
    its colours.

    Args:
        cell: A path (relative ones start at `folder`), encoded bytes, a PIL image, or an array of whole numbers.
        folder: Where relative paths start.
        palette: What values stand for.

    Raises:
        OSError: A file that is missing or cannot be decoded.
        TypeError: No mask.
        ValueError: Values that cannot be classes; the message says which.
    """
    source = source_of(cell)
    if isinstance(source, np.ndarray):
        return _of_array(source, palette)
    try:
        image = _decoded(source, folder)
    except (OSError, MemoryError):
        raise
    except Exception as error:  # a damaged file can raise nearly anything in Pillow's readers
        raise OSError(str(error) or type(error).__name__) from error
    if palette.colors is not None:
        return palette.of_colors(np.asarray(_without_alpha(image).convert("RGB")))
    if image.mode in _NUMBERS:
        return _numbers(np.asarray(image), palette)
    return _of_grey(_without_alpha(image), palette)


def _decoded(source: str | bytes | Image, folder: Path | None) -> Image:
    from PIL import ImageOps

    if isinstance(source, str):
        source = find_image(source, folder).read_bytes()
    image = opened(source) if isinstance(source, bytes) else source
    image.load()
    return ImageOps.exif_transpose(image)  # as the images are


def _without_alpha(image: Image) -> Image:
    """Return an image without its transparency, which is no part of a mask.

    Raises:
        ValueError: Some pixels are transparent, so that their colour means nothing.
    """
    if image.mode not in ("RGBA", "LA"):
        return image
    if np.asarray(image.getchannel("A")).min() < 255:
        raise ValueError("transparent pixels, which have no class: save masks without transparency")
    return image.convert(image.mode[:-1])


def _of_grey(image: Image, palette: Palette) -> np.ndarray:
    """Return the numbers of an image of three equal channels.

    Raises:
        ValueError: The channels differ: the mask is in colours.
    """
    pixels = np.asarray(image.convert("RGB") if image.mode != "L" else image)
    if pixels.ndim == 2:
        return _numbers(pixels, palette)
    if (pixels[..., :1] != pixels).any():
        raise ValueError(
            "colours: name the class of each in data.mask_colors, such as {'road': [128, 64, 128]}, or save masks with "
            "one number a pixel"
        )
    return _numbers(pixels[..., 0], palette)


def _of_array(array: np.ndarray, palette: Palette) -> np.ndarray:
    """Return the values of an array `(height, width)`, `(height, width, 1)`, or of colours `(height, width, 3)`."""
    if palette.colors is not None:
        if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8:
            raise ValueError(
                f"an array {array.dtype} of shape {array.shape}; with data.mask_colors masks are uint8 "
                "(height, width, 3)"
            )
        return palette.of_colors(array)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.ndim != 2:
        raise ValueError(f"an array of shape {array.shape}, not (height, width) of class numbers")
    return _numbers(array, palette)


def _numbers(values: np.ndarray, palette: Palette) -> np.ndarray:
    """Return whole numbers as int32, those of no class as `NO_CLASS`.

    Raises:
        ValueError: Values that are no whole numbers from 0 to 65,535, or beyond the classes that are named.
    """
    if values.dtype.kind not in "biuf":
        raise ValueError(f"values of type {values.dtype}, not whole numbers")
    if values.dtype.kind == "f" and not (np.isfinite(values) & (values == np.floor(values))).all():
        raise ValueError("values that are no whole numbers")
    ignored = np.zeros(values.shape, bool) if palette.ignore is None else values == palette.ignore
    kept = values[~ignored]
    low, high = (int(kept.min()), int(kept.max())) if kept.size else (0, 0)
    if low < 0 or high > LARGEST:
        raise ValueError(f"the value {low if low < 0 else high}; classes are numbers from 0 to {LARGEST:,}")
    if palette.names is not None and high >= len(palette.names):
        raise ValueError(
            f"the value {high}, and data.mask_classes names the classes 0 to {len(palette.names) - 1} "
            f"(data.ignore_index={palette.ignore})"
        )
    return np.where(ignored, np.int32(NO_CLASS), values.astype(np.int32))
