"""Masks drawn over their images, with a legend."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from thermocline.inputs.image.pictures import COLOURS, Colour, show_grid

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image

SHARE = 0.6
"""How much of a pixel's colour is that of its class."""
_GREY = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R 601
_GOLDEN = 0.618034
_LEAST_SIDE = 240  # pixels: smaller pictures are enlarged


def class_colours(count: int) -> tuple[Colour, ...]:
    """Return a colour for each class: those that colour-blind people can tell apart first."""
    more = []
    for number in range(max(0, count - len(COLOURS))):
        value = 0.95 if number % 2 else 0.65
        red, green, blue = colorsys.hsv_to_rgb((number * _GOLDEN) % 1.0, 0.8, value)
        more.append((round(255 * red), round(255 * green), round(255 * blue)))
    return (*COLOURS, *more)[:count]


def overlay(image: Image | np.ndarray, codes: np.ndarray, count: int) -> np.ndarray:
    """Return an image in grey with the colours of its classes over it, uint8 `(height, width, 3)`.

    Grey, because the colours of the image would mix with those of the classes. Edges between classes are white. Pixels
    without a class keep their own colours.

    Args:
        image: RGB.
        codes: Position of the class of each pixel `(height, width)`, below 0 for none.
        count: Number of classes.
    """
    pixels = np.asarray(image).astype(np.float32)
    colours = np.asarray(class_colours(count), dtype=np.float32)
    there = codes >= 0
    grey = pixels @ _GREY
    out = pixels.copy()
    out[there] = (1 - SHARE) * grey[there][:, None] + SHARE * colours[codes[there]]
    edges = np.zeros(codes.shape, bool)
    edges[:, 1:] |= codes[:, 1:] != codes[:, :-1]
    edges[1:] |= codes[1:] != codes[:-1]
    out[edges] = 255
    return out.round().astype(np.uint8)


def figure_of(
    images: Sequence[Image], codes: Sequence[np.ndarray], titles: Sequence[str], classes: Sequence[Any]
) -> Figure:
    """Return a figure of images with their masks, and a legend of the classes that occur."""
    from matplotlib.patches import Patch
    from PIL import Image as pil

    pictures = []
    for image, mask in zip(images, codes, strict=True):
        times = max(1, -(-_LEAST_SIDE // max(image.size)))
        large = image.resize((image.width * times, image.height * times), pil.Resampling.NEAREST)
        grown = mask.repeat(times, axis=0).repeat(times, axis=1)
        pictures.append(pil.fromarray(overlay(large, grown, len(classes))))
    figure = show_grid(pictures, titles)
    colours = class_colours(len(classes))
    there = sorted({int(code) for mask in codes for code in np.unique(mask) if code >= 0})
    patches = [
        Patch(facecolor="#{:02x}{:02x}{:02x}".format(*colours[code]), edgecolor="0.5", label=str(classes[code]))
        for code in there
    ]
    if patches:
        figure.legend(handles=patches, loc="outside lower center", ncols=min(6, len(patches)), frameon=False)
    return figure
