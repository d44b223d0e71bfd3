"""Boxes drawn on their images, and a figure of several such images."""

from __future__ import annotations

import colorsys
import math
import zlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from thermocline.inputs.image.pictures import COLOURS, Colour

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

_LEAST = 480  # pixels: a picture whose long side is shorter is enlarged, or no text would fit


def draw(image: Image, boxes: Sequence[Mapping[str, Any]], classes: Sequence[Any] = ()) -> Image:
    """Return a copy of an image with boxes on it, each with its label, and its score where it has one.

    Lines and text grow with the image, and a small image is enlarged by a whole number, so that text can be read.
    Boxes around crowds have no label.

    Args:
        image: The picture.
        boxes: Predictions or truths: mappings of `label`, `box` (xyxy in pixels) and perhaps `score` and `crowd`. The
            first is drawn on top.
        classes: All classes in order, so that a class has one colour in every picture; without them its name decides.
    """
    from PIL import Image as pil
    from PIL import ImageDraw, ImageFont

    long = max(image.size)
    times = max(1, math.ceil(_LEAST / long))
    shown = image.convert("RGB")
    shown = shown.resize((shown.width * times, shown.height * times), pil.Resampling.NEAREST) if times > 1 else shown
    line = max(2, round(long * times / 320))
    font = ImageFont.load_default(max(12, round(long * times / 45)))
    canvas = ImageDraw.Draw(shown)
    colours = {label: COLOURS[place % len(COLOURS)] for place, label in enumerate(classes)}
    for found in reversed(boxes):
        colour = colours.get(found["label"]) or _colour(found["label"])
        edges = tuple(times * float(edge) for edge in found["box"])
        _outline(canvas, edges, colour, line)
    for found in reversed(boxes):  # texts above all lines
        if not found.get("crowd"):
            colour = colours.get(found["label"]) or _colour(found["label"])
            _name(canvas, found, times, colour, line, font)
    return shown


def _colour(label: object) -> Colour:
    """Return the colour of a class that is in no list: a function of its name, in every process the same."""
    hue = (zlib.crc32(str(label).encode()) * 0.618034) % 1.0
    red, green, blue = (round(255 * part) for part in colorsys.hsv_to_rgb(hue, 0.85, 0.95))
    return red, green, blue


def _outline(canvas: ImageDraw, edges: tuple[float, ...], colour: Colour, line: int) -> None:
    left, upper, right, lower = edges
    # a box that is turned over would make Pillow raise
    left, right, upper, lower = min(left, right), max(left, right), min(upper, lower), max(upper, lower)
    outer = (left - 1, upper - 1, right + 1, lower + 1)
    canvas.rectangle(outer, outline=(0, 0, 0), width=line + 2)  # shows on a background of the line's colour
    canvas.rectangle((left, upper, right, lower), outline=colour, width=line)


def _name(canvas: ImageDraw, found: Mapping[str, Any], times: int, colour: Colour, line: int, font: Any) -> None:
    """Write the label above the box, or inside where there is no room above it."""
    text = str(found["label"]) + (f" {found['score']:.2f}" if "score" in found else "")
    left, upper = times * float(found["box"][0]), times * float(found["box"][1])
    x0, y0, x1, y1 = canvas.textbbox((0, 0), text, font=font)
    width, height = x1 - x0 + 2 * line, y1 - y0 + 2 * line
    full_width, full_height = canvas.im.size
    upper = upper - height if upper >= height else upper
    left, upper = max(0.0, min(left, full_width - width)), max(0.0, min(upper, full_height - height))
    canvas.rectangle((left, upper, left + width, upper + height), fill=colour)
    light = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]
    canvas.text((left + line - x0, upper + line - y0), text, fill=(0, 0, 0) if light > 110 else (255,) * 3, font=font)
