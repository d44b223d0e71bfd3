"""The pictures of a report, in the look of all plots."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from thermocline.errors import ConfigError
from thermocline.evaluation.plain_values import column, number, shortened
from thermocline.report.plots import COLORS, look, pyplot
from thermocline.report.sections import Bars, Curve, Matrix, Points, Section
from thermocline.report.svg import BLUE, GREY, data_address

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from thermocline.evaluation.content import Content

WIDTH, HEIGHT = 5.6, 3.5  # inches of one picture
DPI = 144
MOST_BARS = 20
NAME = 20  # letters of a name at an axis

_TEXTS: Any = {"font.size": 9, "text.usetex": False, "text.parse_math": False}
"""Of the texts: names of classes are drawn as they are."""


def is_drawn(section: Section) -> bool:
    """Whether a section has a picture."""
    return isinstance(section, Curve | Matrix | Bars | Points)


def whole_figure(report: Content) -> Figure:
    """Return one figure of all pictures, two beside each other.

    Raises:
        ConfigError: There are none.
    """
    drawn = [section for section in report.sections if is_drawn(section)]
    if not drawn:
        raise ConfigError(
            f"The report of a {report.problem_type} problem has no pictures, or its rows are too few for them. "
            "print(report) shows what there is."
        )
    wide = min(2, len(drawn))
    with _styled():
        figure: Figure = pyplot().figure(
            figsize=(WIDTH * wide, HEIGHT * math.ceil(len(drawn) / wide)), layout="constrained"
        )
        for place, section in enumerate(drawn, 1):
            draw(section, figure.add_subplot(math.ceil(len(drawn) / wide), wide, place))
    return figure


def picture(section: Section) -> str:
    """Return the picture of a section as an HTML image that holds its own data."""
    from html import escape

    with _styled(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of letters that the font lacks
        high = HEIGHT
        if isinstance(section, Bars):
            high = min(HEIGHT, 0.8 + 0.3 * len(section.bars))
        elif isinstance(section, Matrix):
            high += 0.15 * max(0, len(section.names) - 6)
        from matplotlib.figure import Figure

        figure = Figure(figsize=(WIDTH, high), layout="constrained")
        draw(section, figure.add_subplot(), title="")
        out = io.BytesIO()
        figure.savefig(out, format="png", dpi=DPI, transparent=True)
    address = data_address(out.getvalue(), "image/png")
    return f'<img alt="{escape(section.title)}" width={round(WIDTH * 96)} src="{address}">'


def draw(section: Section, ax: Axes, *, title: str | None = None) -> None:
    """Draw a section on an axis, under its own title or another."""
    drawing: dict[type, Callable[[Any, Axes], None]] = {
        Curve: _curve,
        Matrix: _matrix,
        Bars: _bars,
        Points: _points,
    }
    drawing[type(section)](section, ax)
    ax.set_title(_safe(section.title if title is None else title), loc="left", fontsize="medium")


@contextmanager
def _styled() -> Iterator[None]:
    with look():
        from matplotlib import rc_context

        with rc_context(_TEXTS):
            yield


def _curve(given: Curve, ax: Axes) -> None:
    if given.diagonal:
        ax.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle="--", label="equal")
    for place, (name, heights) in enumerate(given.lines.items()):
        marker = "o" if given.points else None
        ax.plot(given.x, heights, color=COLORS[place % len(COLORS)], marker=marker, markersize=4, label=_safe(name))
    for name, where in given.marks.items():
        ax.axvline(where, color=GREY, linewidth=1, linestyle=":", label=_safe(name))
    _axes(given.axes, ax)
    if len(given.lines) + len(given.marks) + given.diagonal > 1:
        ax.legend(fontsize="small", loc="center left", bbox_to_anchor=(1.0, 0.5))


def _matrix(given: Matrix, ax: Axes) -> None:
    """Shares of each true class as shades, counts as text."""
    values = np.asarray(given.values, dtype=np.float64)
    sums = values.sum(axis=1, keepdims=True)
    shares = np.divide(values, sums, out=np.zeros_like(values), where=sums > 0)
    from matplotlib.colors import LinearSegmentedColormap

    shades = LinearSegmentedColormap.from_list("thermocline", [f"{BLUE}00", f"{BLUE}ff"])
    ax.imshow(shares, cmap=shades, vmin=0, vmax=1, aspect="auto")
    names, small = [_safe(shortened(name, NAME)) for name in given.names], len(values) > 6
    texts = column(values.ravel().tolist())
    for (row, place), text in zip(np.ndindex(*values.shape), texts, strict=True):
        if values[row, place]:
            colour = "white" if shares[row, place] > 0.5 else GREY
            ax.text(place, row, text, ha="center", va="center", color=colour, fontsize=7 if small else 9)
    long = max(map(len, names)) * len(names) > 40
    ax.set_xticks(range(len(names)), names, rotation=60 if long else 0, ha="right" if long else "center")
    ax.set_yticks(range(len(names)), names)
    if long:
        ax.tick_params(axis="x", labelrotation=60)
        for label in ax.get_xticklabels():
            label.set_rotation_mode("anchor")
    _axes(("predicted", "true"), ax)


def _bars(given: Bars, ax: Axes) -> None:
    shown = list(given.bars.items())[:MOST_BARS]
    names, values = [_safe(shortened(str(name), NAME)) for name, _ in shown], [value for _, value in shown]
    places = range(len(shown))
    ax.barh(places, [0.0 if math.isnan(value) else value for value in values], color=BLUE, height=0.65)
    for place, value in enumerate(values):
        ax.text(max(0.0, value if value == value else 0.0), place, f" {number(value)}", va="center", fontsize="small")
    ax.set_yticks(places, names)
    ax.invert_yaxis()
    ax.margins(x=0.12)
    _axes((given.axis, ""), ax)


def _points(given: Points, ax: Axes) -> None:
    ax.axhline(given.level, color=GREY, linewidth=1, linestyle="--")
    ax.scatter(given.x, given.y, s=12, alpha=0.7, color=BLUE, linewidths=0)
    _axes(given.axes, ax)


def _axes(names: tuple[str, str], ax: Axes) -> None:
    ax.set_xlabel(_safe(names[0]))
    ax.set_ylabel(_safe(names[1]))


def _safe(text: str) -> str:
    """Return a text that matplotlib draws as it is; letters that are not printed become escapes."""
    from thermocline.errors import escaped

    return escaped(text)
