"""Drawings as SVG in an `<img>`: the one form that JupyterLab, VS Code and GitHub's viewer of notebooks all show.

GitHub removes `<style>`, `style=` and inline `<svg>` from HTML outputs, and where an output has both HTML and SVG its
viewer takes the HTML (`nbconvert.exporters.html`: `display_data_priority`). An image with a `data:` address stays; it
is also what nbconvert makes of an SVG output. An image does not know the colours of the page around it, so texts are of
a grey that is legible on white and on black.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from html import escape

BLUE = "#2a8fbd"
GREY = "#7e7e7e"
"""Contrast 4:1 with white and with the dark grey of editors (#1f1f1f)."""

FONT = 12
"""Pixels of a text."""

_NARROW, _WIDE = frozenset("fijlrtI.,:;|!'()[]{}/ "), frozenset("mwMW@%…")


def svg(width: float, height: float, parts: Sequence[str], *, background: str = "") -> str:
    """Return shapes as an SVG of some pixels, transparent unless a background is given."""
    ground = [rectangle(0, 0, width, height, fill=background)] if background else []
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{height:g}" '
        f'viewBox="0 0 {width:g} {height:g}" font-family="system-ui,-apple-system,sans-serif" font-size="{FONT}">'
        f"{''.join([*ground, *parts])}</svg>"
    )


def image(drawing: str, alt: str, *, width: float, height: float, classes: str = "") -> str:
    """Return an SVG as an HTML image.

    Args:
        drawing: From `svg`.
        alt: What it shows, for those who do not see it.
        width: Pixels.
        height: Pixels.
        classes: Of the element.
    """
    own = f" class={classes}" if classes else ""
    address = data_address(drawing.encode(), "image/svg+xml")
    return f'<img{own} alt="{escape(alt)}" width={width:.0f} height={height:.0f} src="{address}">'


def data_address(content: bytes, kind: str) -> str:
    """Return the address of an image that holds the image itself; `kind` such as `image/png`."""
    return f"data:{kind};base64,{b64encode(content).decode('ascii')}"


def rectangle(x: float, y: float, width: float, height: float, *, fill: str = BLUE, opacity: float = 1.0) -> str:
    """Return a filled rectangle."""
    strength = "" if opacity >= 1 else f' fill-opacity="{opacity:.2f}"'
    place = f'x="{x:.5g}" y="{y:.5g}" width="{width:.5g}" height="{height:.5g}"'
    return f'<rect {place} fill="{fill}"{strength} shape-rendering="crispEdges"/>'


def line(x: float, y: float, to_x: float, to_y: float, *, color: str = GREY, opacity: float = 0.6) -> str:
    """Return a thin line."""
    return f'<path d="M{x:.5g} {y:.5g}L{to_x:.5g} {to_y:.5g}" stroke="{color}" stroke-opacity="{opacity:g}"/>'


def text(x: float, y: float, words: str, *, anchor: str = "start", color: str = GREY) -> str:
    """Return a text whose base line begins (or ends: `anchor="end"`) at a point."""
    return f'<text x="{x:.5g}" y="{y:.5g}" fill="{color}" text-anchor="{anchor}">{escape(words)}</text>'


def text_width(words: str) -> float:
    """Return how many pixels a text takes at most, whatever sans-serif font there is."""
    return FONT * sum(map(_letter_width, words))


def _letter_width(sign: str) -> float:
    if sign in _NARROW:
        return 0.4
    return 1.0 if sign in _WIDE else 0.8 if sign.isupper() else 0.64


def bar(first: float, last: float | None = None, *, paler: float = 0.0, frame: bool = False) -> str:
    """Return an HTML image of a bar.

    Args:
        first: Its length at the upper edge, as a share of the width of the column.
        last: At the lower edge, where it differs; the end slants.
        paler: The share that a paler bar adds.
        frame: Whether a line marks the whole width.
    """
    width, height = 104, 11
    last = first if last is None else last
    shape = f"0,0 {width * first:.4g},0 {width * last:.4g},{height} 0,{height}"
    parts = [f'<polygon points="{shape}" fill="{BLUE}"/>']
    if paler > 0:
        parts.append(rectangle(width * first, 0, width * paler, height, opacity=0.3))
    if frame:
        parts.append(line(width - 0.5, 0, width - 0.5, height))
    return image(svg(width, height, parts), "", width=width, height=height, classes="bar")
