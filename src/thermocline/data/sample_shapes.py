"""The sample `shapes`: pictures of circles, squares and triangles on textured grounds, with a mask of each.

Picture number n is a function of n alone, and of plain arithmetic and whole random numbers, so that it is the same on
every machine. Shapes have bright colours and grounds are greyish, but which shape it is, only the outline tells.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from thermocline.data.sample_images import place_for, write_once

if TYPE_CHECKING:
    from PIL.Image import Image

HEIGHT, WIDTH = 72, 96
SHAPES = ("background", "circle", "square", "triangle")
_STREAM = 20_260  # of the random numbers of this sample
_PALETTE = (30, 30, 30, 230, 120, 40, 60, 160, 220, 120, 190, 80)
_TURNS = ((1.0, 0.0), (-0.5, 3**0.5 / 2), (-0.5, -(3**0.5) / 2))  # the sides of a triangle, a third of a turn each


def write_shapes(order: Sequence[int], folder: str | Path | None = None) -> tuple[list[str], list[str]]:
    """Write pictures and masks of these numbers as PNG files, each once; return the paths of both, in this order.

    Pictures have three channels; a mask holds the number of a class in `SHAPES` for every pixel, with a palette, so
    that a viewer shows its classes in colours. Both are 96 × 72 pixels.

    Args:
        order: Which pictures; numbers may repeat.
        folder: Where to write; None is a folder of the user's below the temporary one.
    """
    from PIL import Image

    place = place_for("shapes", folder)
    paths: dict[int, tuple[str, str]] = {}
    for number in sorted({int(one) for one in order}):
        pixels, mask = drawn(number)
        name = f"{number:04d}_{hashlib.sha256(pixels.tobytes() + mask.tobytes()).hexdigest()[:12]}"
        picture, index = place / f"{name}.png", place / f"{name}_mask.png"
        write_once(picture, lambda pixels=pixels: Image.fromarray(pixels))  # type: ignore[misc]
        write_once(index, lambda mask=mask: _with_palette(mask))  # type: ignore[misc]
        paths[number] = str(picture), str(index)
    return [paths[int(number)][0] for number in order], [paths[int(number)][1] for number in order]


def drawn(number: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a picture, uint8 `(72, 96, 3)`, and its mask, uint8 `(72, 96)`, the class of each pixel.

    Args:
        number: Of the picture; any whole number from 0.
    """
    generator = np.random.default_rng([_STREAM, number])
    pixels, mask = _ground(generator), np.zeros((HEIGHT, WIDTH), np.uint8)
    for _ in range(int(generator.integers(3, 7))):
        kind = int(generator.integers(1, len(SHAPES)))
        inside = _outline(generator, kind)
        if mask[inside].any():  # what a shape leaves of another may look like a third
            continue
        pixels = np.where(inside[..., None], _bright(generator), pixels)
        mask[inside] = kind
    noise = generator.integers(-14, 15, size=pixels.shape)
    return np.clip(pixels + noise, 0, 255).astype(np.uint8), mask


def _ground(generator: np.random.Generator) -> np.ndarray:
    """Return a greyish colour with stripes of a darker or lighter one, int64 `(height, width, 3)`."""
    first = generator.integers(70, 186) + generator.integers(-15, 16, size=3)
    second = generator.integers(-45, 46) + generator.integers(-8, 9, size=3)
    along, across = generator.integers(-4, 5, size=2)
    period = int(generator.integers(12, 40))
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    wave = np.abs((along * rows + across * columns) % period - period // 2)
    return np.asarray(first + wave[..., None] * second * 2 // period)


def _bright(generator: np.random.Generator) -> np.ndarray:
    """Return a colour of which one channel is high and another low, int64 `(3,)`."""
    return np.asarray(generator.permutation([225, int(generator.integers(30, 226)), 30]))


def _outline(generator: np.random.Generator, kind: int) -> np.ndarray:
    """Return which pixels lie in a circle, square or triangle of random place, size and turn, bool."""
    radius = float(generator.integers(11, 20))
    top, left = generator.integers(8, HEIGHT - 8), generator.integers(8, WIDTH - 8)
    down, right = (int(one) for one in generator.integers(1, 50, size=2))
    length = (down * down + right * right) ** 0.5
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    rows, columns = rows - top, columns - left
    first = (rows * down + columns * right) / length
    second = (columns * down - rows * right) / length
    if SHAPES[kind] == "circle":
        return np.asarray(rows * rows + columns * columns <= radius * radius)
    if SHAPES[kind] == "square":
        return np.asarray(np.maximum(np.abs(first), np.abs(second)) <= 0.85 * radius)
    sides = [first * cosine + second * sine for cosine, sine in _TURNS]
    return np.asarray(np.max(sides, axis=0) <= 0.62 * radius)


def _with_palette(mask: np.ndarray) -> Image:
    from PIL import Image

    picture = Image.fromarray(mask)
    picture.putpalette(_PALETTE)
    return picture
