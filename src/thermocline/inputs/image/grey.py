"""Values of more than 8 bits, scaled to 0 to 255 by a range that does not depend on the picture they stand in.

The range of a column is found from training images (`grey_range`). A column whose training images had 8 bits has none:
a deeper image is then read by its type, 0 to 65535 where that has 16 bits, 0 to 1 where it holds fractions, and 0 to
255 where it holds other whole numbers, such as those of nested lists.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

Range: TypeAlias = tuple[float, float]


def is_deep(image: Image | np.ndarray) -> bool:
    """Whether an image has values of more than 8 bits."""
    if isinstance(image, np.ndarray):
        return image.dtype not in (np.uint8, np.bool_)
    return image.mode.startswith("I") or image.mode == "F"


def values_of(image: Image | np.ndarray) -> np.ndarray:
    """Return the values as float64; those that are not finite, which mark missing ones in TIFF files, are 0."""
    values = np.asarray(image, dtype=np.float64)
    return np.where(np.isfinite(values), values, 0.0)


def range_of_type(image: Image | np.ndarray) -> Range:
    """Return the range of a deep image by its type alone."""
    if isinstance(image, np.ndarray):
        whole, sixteen = image.dtype.kind in "iu", image.dtype.itemsize == 2
    else:
        whole, sixteen = image.mode != "F", image.mode.startswith("I;16")
    return (0.0, 65535.0 if sixteen else 255.0) if whole else (0.0, 1.0)


def scaled(image: Image | np.ndarray, grey: Range | None) -> np.ndarray:
    """Return a deep image as uint8; what lies outside of the range is cut to it.

    Args:
        image: A deep image.
        grey: The range that becomes 0 to 255; by default that of its type.
    """
    low, high = grey or range_of_type(image)
    values = np.clip(values_of(image), low, high)
    grown: np.ndarray = (values - low) / (high - low) * 255
    return grown.round().astype(np.uint8)


def image_of_array(array: np.ndarray, grey: Range | None) -> Image:
    """Return an array of the shape height × width, perhaps with 1 to 4 channels, as an image."""
    from PIL import Image as pil

    if is_deep(array):
        array = scaled(array, grey)
    elif array.dtype == np.bool_:
        array = array.astype(np.uint8) * np.uint8(255)
    return pil.fromarray(np.ascontiguousarray(array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array))
