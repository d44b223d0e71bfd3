"""The range of a column's values of more than 8 bits: found from training images, and compared with others.

The range is that of the values in up to `SAMPLE` training images, evenly spaced over the rows. Each end is moved
outward to 0 or a power of two, for whole numbers to the one below it: 255, 4095, 65535. So 12-bit images have 0 to 4095
whatever the brightest pixel is. Where less than a quarter of that would be used, the ends stay as they were found. The
range is stored with the predictor and holds for tuning data, `evaluate` and `predict`; values outside of it are cut to
it.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from thermocline.errors import ThermoclineWarning, counted
from thermocline.inputs.image.cells import is_missing
from thermocline.inputs.image.files import deep_image
from thermocline.inputs.image.grey import Range, range_of_type, values_of

if TYPE_CHECKING:
    from PIL.Image import Image

SAMPLE = 200  # training images that are looked at
COMPARED = 50  # images of other data that are looked at
LEAST_USED = 0.25  # of a range of powers of two


def grey_range(cells: Sequence[object], folder: Path | None = None) -> Range | None:
    """Return the range of the values of a column's training images, or None where those have 8 bits.

    Args:
        cells: The column of training rows.
        folder: Where relative paths start.

    Example:
        >>> grey_range([np.array([[0, 100], [2000, 3000]], dtype=np.uint16)])
        (0.0, 4095.0)
        >>> grey_range([np.array([[290.5, 310.0]])])
        (290.5, 310.0)
    """
    low, high, whole = math.inf, -math.inf, True
    for image in _deep_images(cells, folder, SAMPLE):
        values = values_of(image)
        low, high = min(low, float(values.min())), max(high, float(values.max()))
        whole = whole and bool((values == np.floor(values)).all())
    return None if low > high else _rounded(low, high, whole=whole)


def _rounded(low: float, high: float, *, whole: bool) -> Range:
    ends = (-_power_above(-low) if low < 0 else 0.0, _power_above(high, below=whole) if high > 0 else 0.0)
    if high - low < LEAST_USED * (ends[1] - ends[0]) and low < high:
        return low, high
    return ends if ends[0] < ends[1] else (0.0, 1.0)


def _power_above(value: float, *, below: bool = False) -> float:
    """Return the power of two that is at least a value above 0, or the whole number below it where that is enough."""
    if below:
        return float(2 ** int(value).bit_length() - 1)
    mantissa, exponent = math.frexp(value)
    return math.ldexp(1.0, exponent - 1 if mantissa == 0.5 else exponent)


def warn_of_outside(cells: Sequence[object], folder: Path | None, grey: Range | None, column: str) -> None:
    """Warn where images hold values outside of the range of their column, or of more bits than in training.

    Up to `COMPARED` images are looked at, evenly spaced.

    Args:
        cells: The column.
        folder: Where relative paths start.
        grey: The range found in training; None: training images had 8 bits.
        column: Its name.
    """
    outside, least, most, looked = 0, math.inf, -math.inf, len(_places(cells, COMPARED))
    used: Range | None = None
    for image in _deep_images(cells, folder, COMPARED):
        used = grey or range_of_type(image)
        values = values_of(image)
        low, high = float(values.min()), float(values.max())
        plain = grey is not None or used[1] == 255.0  # whole numbers of no certain depth
        if low < used[0] or high > used[1] or not plain:
            outside, least, most = outside + 1, min(least, low), max(most, high)
    if used is None or not outside:
        return
    span = f"{used[0]:g} to {used[1]:g}"
    how = (
        f"outside of {span}, the range found in training images; they are cut to it"
        if grey is not None
        else f"of more than the 8 bits that training images had; {span} are read as 0 to 255"
    )
    warnings.warn(
        f"Column {column!r}: {outside:,} of {counted(looked, 'image')} looked at "
        f"{'holds' if outside == 1 else 'hold'} values ({least:g} to {most:g}) {how}. Bring images of the same depth "
        "and scale as in training.",
        ThermoclineWarning,
        stacklevel=4,
    )


def _deep_images(cells: Sequence[object], folder: Path | None, most: int) -> Iterator[Image | np.ndarray]:
    for place in _places(cells, most):
        try:
            image = deep_image(cells[place], folder)
        except Exception:  # it is told where the image is read
            continue
        if image is not None:
            yield image


def _places(cells: Sequence[object], most: int) -> list[int]:
    """Return up to so many positions of cells with an image, evenly spaced."""
    there = [place for place, cell in enumerate(cells) if not is_missing(cell)]
    chosen = np.unique(np.linspace(0, len(there) - 1, min(most, len(there))).round().astype(int))
    return [there[place] for place in chosen]
