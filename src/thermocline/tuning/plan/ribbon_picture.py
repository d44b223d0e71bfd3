"""Phases as a picture, layers by time: coloured where a layer trains, the stronger the higher its rate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby

from thermocline.report.svg import GREY, image, line, rectangle, svg, text, text_width
from thermocline.report.tables import html_lines, html_table
from thermocline.tuning.plan import ribbon
from thermocline.tuning.plan.decisions import Decisions

_POINTS = 240
_DECADES = 3  # of rates; what is slower than a thousandth of the highest rate has the same colour
_SHADES = 12
_BARS = 520  # pixels
_ROW, _BAR = 17, 13
_GAP, _MARGIN = 4, 8
_MOST_OF_NAME = 40  # letters


def html(plan: Decisions) -> str:
    """Return the picture, and the list of the phases, as HTML that needs no style."""
    listed = [[str(i + 1), one.name, ribbon.ends(one), ribbon.course(one)] for i, one in enumerate(plan.phases)]
    drawing, width, height = picture(plan)
    lines = html_lines([ribbon.headline(plan)])
    shown = image(drawing, _in_words(plan), width=width, height=height)
    phases = html_table(listed, ["", "phase", "lasts", "rate"], right=[0])
    return f"{lines}<div>{shown}</div><details><summary>the phases</summary>{phases}</details>"


def picture(plan: Decisions) -> tuple[str, float, float]:
    """Return the ribbon as an SVG, its width and its height in pixels.

    A row for each run of layers that train at the same times; above them the name of each phase where it begins, or
    its number where the name does not fit; a number that would touch the one before is left out.
    """
    rows = ribbon.rows(plan, _POINTS)
    names = [_short(row.name) for row in rows]
    left = max(map(text_width, names)) + 10
    top, height = 22, 22 + _ROW * len(rows)
    parts = _heads(plan, left, height)
    for place, (name, row) in enumerate(zip(names, rows, strict=True)):
        y = top + _ROW * place
        parts += [text(left - 10, y + _BAR - 2, name, anchor="end"), *_bars(row.rates, left, y)]
    parts += _key(plan, left, height + 22)
    width = left + _BARS + _MARGIN
    return svg(width, height + 32, parts), width, height + 32


def _heads(plan: Decisions, left: float, bottom: float) -> list[str]:
    """A line where each phase begins, and beside it what the phase is called, where there is room."""
    parts = []
    place, free = 0, 0.0
    for phase, points in ribbon.stretches(plan, _POINTS):
        x, end = left + _BARS * place / _POINTS, left + _BARS * (place + points) / _POINTS
        parts.append(line(round(x) + 0.5, 4, round(x) + 0.5, bottom))
        name, number = plan.phases[phase].name, str(phase + 1)
        words = name if x + _GAP + text_width(name) <= end else number
        last = x + _GAP + text_width(words)
        if x >= free and last <= left + _BARS + _MARGIN:
            parts.append(text(x + _GAP, 14, words))
            free = last
        place += points
    return parts


def _bars(rates: Sequence[float], left: float, y: float) -> list[str]:
    parts, place = [], 0
    for shade, own in groupby(shade_of(rate) for rate in rates):
        points = len(list(own))
        x, width = left + _BARS * place / len(rates), _BARS * points / len(rates)
        if shade is None:
            parts.append(line(x, y + _BAR / 2, x + width, y + _BAR / 2))
        else:
            parts.append(rectangle(x, y, width, _BAR, opacity=_opacity(shade)))
        place += points
    return parts


def shade_of(rate: float) -> int | None:
    """Return the shade of a rate, given as a share of the highest, from 0 to 12 by its logarithm; None: frozen."""
    if rate <= 0:
        return None
    return round(_SHADES * min(max(1 + math.log10(rate) / _DECADES, 0.0), 1.0))


def _opacity(shade: int) -> float:
    return 0.24 + 0.76 * shade / _SHADES


def _key(plan: Decisions, left: float, y: float) -> list[str]:
    """What the colours mean."""
    highest = ribbon.highest(plan)
    low, high = f"learning rate {highest / 10**_DECADES:.2g} or less", f"{highest:.2g}"
    x = left + text_width(low) + 6
    shades = [rectangle(x + 8 * shade, y - 9, 8, 10, opacity=_opacity(shade)) for shade in range(_SHADES + 1)]
    end = x + 8 * (_SHADES + 1) + 6
    dash = end + text_width(high) + 24
    frozen = [line(dash, y - 4, dash + 24, y - 4, color=GREY), text(dash + 30, y, "frozen")]
    return [text(left, y, low), *shades, text(end, y, high), *frozen]


def _short(name: str) -> str:
    """A name, its middle left out where it is long."""
    half = (_MOST_OF_NAME - 1) // 2
    return name if len(name) <= _MOST_OF_NAME else f"{name[:half]}…{name[-half:]}"


def _in_words(plan: Decisions) -> str:
    """What the picture shows: for each phase from which share of the run it lasts."""
    place, parts = 0, []
    for phase, points in ribbon.stretches(plan, _POINTS):
        parts.append(f"{plan.phases[phase].name} from {100 * place / _POINTS:.0f} %")
        place += points
    return f"Layers by time: {', '.join(parts)} of the run"
