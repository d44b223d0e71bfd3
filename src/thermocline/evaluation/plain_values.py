"""Values of reports as the text of a cell."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from thermocline.report.screen import end_cut

LONGEST = 40
"""Letters of a text in a cell; what is longer is cut."""


def number(value: float | None, *, size: float | None = None) -> str:
    """Return a number for a person, with fewer digits behind the point the larger it is.

    Args:
        value: The number; None is an empty text.
        size: The largest number of the same column, whose digits they all have; the number itself by default.

    Example:
        >>> number(0.98765), number(12.34567), number(1234.5), number(0.000123), number(float("nan")), number(None)
        ('0.988', '12.35', '1,234', '0.000123', '–', '')
        >>> number(0.5, size=250)
        '0.5'
    """
    if value is None:
        return ""
    if math.isnan(value):
        return "–"
    largest = max(abs(value), size or 0.0)
    if not math.isfinite(largest) or largest >= 1e9 or 0 < largest < 0.001:
        return f"{value:.3g}"
    return f"{value:,.{next(digits for bound, digits in _DIGITS if largest >= bound)}f}"


_DIGITS = ((1_000, 0), (100, 1), (10, 2), (0, 3))


def column(values: Sequence[Any]) -> list[str]:
    """Return the cells of a column as texts; its numbers have the same digits.

    Example:
        >>> column([1200, 3]), column([0.5, 133.25, None]), column([346.0, 84.0]), column(["a" * 50])[0][-5:]
        (['1,200', '3'], ['0.5', '133.2', ''], ['346', '84'], 'aaaa…')
    """
    plain = [one.item() if isinstance(one, np.generic) else one for one in values]
    floats = [one for one in plain if isinstance(one, float) and math.isfinite(one)]
    if floats and all(one.is_integer() and abs(one) < 1e15 for one in floats) and max(map(abs, floats)) > 1:
        plain = [int(one) if isinstance(one, float) and math.isfinite(one) else one for one in plain]
    size = max(map(abs, floats), default=None)
    return [_cell(one, size) for one in plain]


def _cell(value: Any, size: float | None) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    if value is None or isinstance(value, float):
        return number(value, size=size)
    return shortened(str(value))


def shortened(text: str, longest: int = LONGEST) -> str:
    """Return a text as one line, cut where it is longer."""
    return end_cut(" ".join(text.split()), longest)


def are_numbers(values: Sequence[Any]) -> bool:
    """Whether a column holds numbers, shares in percent or nothing, and is aligned right."""
    kinds = [one for one in values if one is not None]
    return bool(kinds) and all(
        one.endswith(" %") if isinstance(one, str) else isinstance(one, (int, float, np.number)) for one in kinds
    )
