"""Numbers that options take, checked."""

from __future__ import annotations

import math
from typing import Any

from thermocline.errors import ConfigError


def _number(name: str, value: Any, where: str, least: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ConfigError(f"{name}{where} must be a {least}number; got {value!r}.")
    return float(value)


def positive(name: str, value: Any) -> float:
    """Return the value as a number above zero, or raise ConfigError."""
    if _number(name, value, "", "positive ") <= 0:
        raise ConfigError(f"{name} must be positive; got {value!r}.")
    return float(value)


def not_negative(name: str, value: Any, label: str = "") -> float:
    """Return the value as a number of at least zero, or raise ConfigError."""
    where = f" of {label}" if label else ""
    if _number(name, value, where, "") < 0:
        raise ConfigError(f"{name}{where} must not be negative; got {value!r}.")
    return float(value)


def fraction(name: str, value: Any, *, below_one: bool = False) -> float:
    """Return the value as a number from 0 to 1 (1 itself only without `below_one`), or raise ConfigError."""
    good = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 1
    if not good or (below_one and value == 1):
        bound = "from 0 up to but not including 1" if below_one else "from 0 to 1"
        raise ConfigError(f"{name} must be a fraction {bound}; got {value!r}.")
    return float(value)


def whole(name: str, value: Any, *, least: int = 1) -> int:
    """Return the value as a whole number of at least `least`, or raise ConfigError."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigError(f"{name} must be a whole number of at least {least}; got {value!r}.")
    return value
