"""Pictures as they stand in HTML and in figures, and the lines above what is shown."""

from __future__ import annotations

import io
from collections.abc import Iterable
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from thermocline.errors import escaped
from thermocline.report.screen import folded, screen_width
from thermocline.report.svg import data_address

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_SIDE = 640
"""Pixels of the longer side of a picture in HTML; larger ones are made smaller."""

SMALL_SIDE = 96
"""Pictures whose longer side is shorter are enlarged pixel by pixel."""


def html_picture(picture: np.ndarray, name: str, *, width: int = 200) -> str:
    """Return an uint8 picture `(height, width, 3 or 4)` as an HTML image that holds its own bytes.

    Args:
        picture: The picture.
        name: What it is called, for those who do not see it.
        width: The most pixels of the screen that it is wide.
    """
    from PIL import Image

    image = Image.fromarray(picture)
    image.thumbnail((MOST_SIDE, MOST_SIDE))
    out = io.BytesIO()
    image.save(out, format="PNG")
    address = data_address(out.getvalue(), "image/png")
    pixelated = ";image-rendering:pixelated" if max(picture.shape[:2]) < SMALL_SIDE else ""
    style = f"width:100%;max-width:{width}px;display:block;margin:4px 0{pixelated}"
    return f'<img alt="{escape(name, quote=True)}" style="{style}" src="{address}">'


def draw_picture(ax: Axes, picture: np.ndarray) -> None:
    """Draw a picture without axes of numbers; a small one pixel by pixel."""
    smooth = "nearest" if max(picture.shape[:2]) < SMALL_SIDE else "antialiased"
    ax.imshow(picture, interpolation=smooth)
    ax.set_xticks([])
    ax.set_yticks([])
    for spine in ax.spines.values():
        spine.set_visible(False)


def headings(texts: Iterable[str]) -> list[str]:
    """Return texts as lines that fit the screen."""
    return [line for text in texts for line in folded(escaped(text), screen_width())]


def side_by_side(pictures: list[np.ndarray]) -> np.ndarray:
    """Return pictures of any sizes as one, aligned at the top, with white between them."""
    if len(pictures) == 1:
        return pictures[0]
    height = max(one.shape[0] for one in pictures)
    gap = max(2, height // 40)
    width = sum(one.shape[1] for one in pictures) + gap * (len(pictures) - 1)
    out = np.full((height, width, 3), 255, dtype=np.uint8)
    left = 0
    for one in pictures:
        out[: one.shape[0], left : left + one.shape[1]] = one
        left += one.shape[1] + gap
    return out
