"""How plots look: without a background of their own, in colours that are legible on a light and on a dark page."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from thermocline.errors import MissingDependencyError
from thermocline.report.svg import BLUE, GREY

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap

ORANGE = "#d9772b"
COLORS = (BLUE, ORANGE, "#5b9a3c", "#a865a8", "#c4514f", "#8a7a2e", "#3f9b93")
"""Of lines that are told apart by a legend."""

_LOOK: Any = {
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "legend.facecolor": "none",
    "svg.fonttype": "none",
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), GREY),
    "grid.color": GREY,
}


def pyplot() -> Any:
    """Return `matplotlib.pyplot`; matplotlib is an extra.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    try:
        from matplotlib import pyplot as module
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "matplotlib":
            raise
        raise MissingDependencyError(
            "Plots need the package matplotlib. Install it: pip install 'thermocline[plots]'"
        ) from None
    return module


@contextmanager
def look() -> Iterator[None]:
    """Return the context in which our own figures are made; matplotlib's settings are as before after it.

    Except whether it is interactive: the first figure loads the backend, and that of a notebook turns it on. Turned off
    again, no later figure would be shown.

    Example:
        >>> with look():
        ...     figure = pyplot().figure()
        >>> figure.get_facecolor()[-1]
        0.0
    """
    pyplot()
    from matplotlib import interactive, is_interactive, rc_context

    on = is_interactive()
    try:
        with rc_context(_LOOK):
            try:
                yield
            finally:
                on = is_interactive()
    finally:
        interactive(on)


@contextmanager
def drawn(ax: Axes | None, size: tuple[float, float]) -> Iterator[Axes]:
    """Give where to draw: the caller's axis, in the caller's look, or that of a new figure in ours.

    Args:
        ax: The caller's axis, or `None`.
        size: Of a new figure: width and height in inches.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    if ax is not None:
        yield ax
        return
    with look():
        yield pyplot().subplots(figsize=size, layout="constrained")[1]


def depth_colors() -> Colormap:
    """Return the colours of layers from the input (blue) to the head (orange), none of them very light or dark."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("depth", ["#3b7dd8", "#a2689f", ORANGE])


def rate_colors() -> Colormap:
    """Return the colours of rates, from slow to fast; without those that a dark page would hide."""
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap

    return ListedColormap(colormaps["viridis"]([0.12 + 0.88 * place / 255 for place in range(256)]), "rates")


def score_limits(values: Sequence[float]) -> tuple[float, float]:
    """Return limits of an axis of scores between which a difference by chance does not look like a cliff.

    They lie 20 % of the largest value apart or more, and .1 or more where all values are between 0 and 1: with 120 rows
    two standard errors of an accuracy on each side are .09 to .18 together, and one row more or less is .008.

    Args:
        values: The scores; those that are not finite are left out.

    Example:
        >>> low, high = score_limits([0.80, 0.81])
        >>> round(low, 3), round(high, 3)
        (0.716, 0.894)
    """
    known = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
    low, high = min(known), max(known)
    least, most = (0.0, 1.0) if low >= 0 and high <= 1 else (-math.inf, math.inf)
    span = max(high - low, 0.2 * max(abs(low), abs(high)), 0.1 if most == 1 else 0.0) or 1.0
    middle = min(max((low + high) / 2, least + span / 2), most - span / 2)
    return middle - 0.55 * span, middle + 0.55 * span
