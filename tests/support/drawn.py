"""Which texts a figure really draws, and where: none may be cut off, and no two may lie on each other."""

from __future__ import annotations

from itertools import combinations
from typing import Any
from unittest.mock import patch

TOUCHING = 1.0
"""Pixels by which the boxes of two texts may overlap, or lie outside the figure."""


def texts_of(figure: Any) -> list[tuple[str, Any]]:
    """Return the texts that are drawn, each with its box in pixels; labels of ticks out of sight are not."""
    from matplotlib.text import Text

    found: list[Text] = []
    draw = Text.draw

    def noted(self: Text, renderer: Any) -> None:
        found.append(self)
        draw(self, renderer)

    figure.canvas.draw()  # the layout is settled
    with patch.object(Text, "draw", noted):
        figure.canvas.draw()
    return [(one.get_text(), one.get_window_extent()) for one in found if one.get_visible() and one.get_text().strip()]


def faults_of(figure: Any) -> list[str]:
    """Return what cannot be read in a figure: texts that are cut off, and pairs that overlap."""
    width, height = figure.canvas.get_width_height()
    texts = texts_of(figure)
    faults = [
        f"cut off: {text!r}"
        for text, box in texts
        if box.x0 < -TOUCHING or box.y0 < -TOUCHING or box.x1 > width + TOUCHING or box.y1 > height + TOUCHING
    ]
    for (text, box), (other, its) in combinations(texts, 2):
        across = min(box.x1, its.x1) - max(box.x0, its.x0)
        down = min(box.y1, its.y1) - max(box.y0, its.y0)
        if across > TOUCHING and down > TOUCHING and not (box.x0 == its.x0 and text == other):
            faults.append(f"overlap: {text!r} and {other!r}")
    return faults
