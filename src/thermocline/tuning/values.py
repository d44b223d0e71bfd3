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
