"""Colours of classes, and a figure of several pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image

Colour = tuple[int, int, int]
# Okabe and Ito's colours, which colour-blind people can tell apart; the last, yellow, shows badly on photographs
COLOURS: tuple[Colour, ...] = (
    (230, 159, 0),
    (0, 158, 255),
    (0, 200, 130),
    (240, 80, 20),
    (225, 110, 190),
    (86, 220, 233),
    (240, 228, 66),
)


def show_grid(images: Sequence[Image], titles: Sequence[str] = (), *, columns: int | None = None) -> Figure:
    """Return a figure of pictures side by side.

    Args:
        images: The pictures.
        titles: One each, or none.
        columns: Pictures in a row; None: up to three.

    Raises:
        ValueError: No pictures.
    """
    from thermocline.report.plots import pyplot

    if not images:
        raise ValueError("There are no pictures to show.")
    wide = columns or min(3, len(images))
    rows = -(-len(images) // wide)
    aspect = max(image.height / image.width for image in images)
    width = 4.6 if wide > 1 else 7.0
    figure: Figure
    figure, axes = pyplot().subplots(
        rows, wide, figsize=(width * wide, (width * min(aspect, 2.0) + 0.3) * rows), layout="constrained", squeeze=False
    )
    for place, axis in enumerate(axes.flat):
        axis.set_axis_off()
        if place < len(images):
            axis.imshow(images[place])
            if place < len(titles):
                axis.set_title(titles[place], fontsize=9)
    pyplot().close(figure)  # a notebook would show an open figure a second time
    return figure
