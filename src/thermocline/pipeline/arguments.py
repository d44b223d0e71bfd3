"""Arguments of the public API that are numbers, texts or flags, checked before anything is done."""

from __future__ import annotations

import math
import re
from contextlib import suppress
from typing import Any

import numpy as np

from thermocline.errors import ConfigError

LARGEST_SEED = 2**32 - 1
SIZES = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "GiB": 2**30}  # of memory, in bytes
MEMORY = re.compile(rf"(?P<number>\d+(\.\d*)?|\.\d+)\s*(?P<unit>{'|'.join(SIZES)})")
UNITS = {"s": 1, "m": 60, "h": 3600}  # of time, in seconds
TIME = re.compile(r"(?P<number>\d+(\.\d*)?|\.\d+)\s*(?P<unit>[smh])")


def check_problem_type(value: object) -> None:
    """Check that a problem type is a text or None.

    Raises:
        ConfigError: It is not.
    """
    if value is not None and not isinstance(value, str):
        raise ConfigError(f"problem_type is a text or None, not {shown(value)}.")


def check_weight_name(value: object) -> None:
    """Check that sample weights are the name of a column or None.

    Raises:
        ConfigError: They are not.
    """
    if value is not None and not isinstance(value, str):
        raise ConfigError(
            f"sample_weight is the name of a column, not {shown(value)}. Put the weights into the table: "
            "frame.assign(weight=weights), and sample_weight='weight'."
        )


def check_flags(**given: object) -> None:
    """Check that arguments are True or False.

    Raises:
        ConfigError: One is not.
    """
    for name, value in given.items():
        if not isinstance(value, bool | np.bool):
            raise ConfigError(f"{name} is True or False, not {shown(value)}.")


def verbosity_of(value: Any) -> int:
    """Return how much is printed.

    Raises:
        ConfigError: It is not 0, 1 or 2.
    """
    if not _is_whole(value) or not 0 <= value <= 2:
        raise ConfigError(
            f"verbosity is 0 (nothing is printed), 1 (a summary, a line for each validation, and the end) or 2 (all "
            f"options and the whole plan too), not {shown(value)}."
        )
    return int(value)


def check_seed(value: Any) -> None:
    """Check that a seed is one.

    Raises:
        ConfigError: It is not.
    """
    if not _is_whole(value) or not 0 <= value <= LARGEST_SEED:
        raise ConfigError(f"seed is a whole number from 0 to {LARGEST_SEED}, not {shown(value)}.")


def whole_number(name: str, value: Any, least: int, most: int | None = None) -> int:
    """Return a whole number.

    Raises:
        ConfigError: It is none, or not within the limits.
    """
    if not _is_whole(value) or value < least or (most is not None and value > most):
        limits = f"of at least {least}" if most is None else f"from {least} to {most:,}"
        raise ConfigError(f"{name} is a whole number {limits}, not {shown(value)}.")
    return int(value)


def seconds_of(value: Any) -> float | None:
    """Return a time limit in seconds; None where there is none, or it is infinite.

    Args:
        value: A number of seconds, or a number with a unit as text: `90s`, `20m`, `1.5h`.

    Raises:
        ConfigError: It is neither, or not above 0.
    """
    if value is None:
        return None
    limit = math.nan
    if isinstance(value, str) and (found := TIME.fullmatch(value.strip())):
        limit = float(found["number"]) * UNITS[found["unit"]]
    elif _is_whole(value) or isinstance(value, float | np.floating):
        with suppress(OverflowError):
            limit = float(value)
    if limit > 0:
        return None if math.isinf(limit) else limit
    raise ConfigError(
        "time_limit is a number of seconds above 0, or a text such as '90s', '20m' or '1.5h', or None; got "
        f"{shown(value)}."
    )


def memory_of(value: Any) -> int | None:
    """Return an amount of memory in bytes; None where there is no limit.

    Args:
        value: A number of bytes, or a number with a unit as text: `8GB`, `1.5GiB`, `500MB`.

    Raises:
        ConfigError: It is neither, or below a byte.
    """
    if value is None:
        return None
    size = math.nan
    if isinstance(value, str) and (found := MEMORY.fullmatch(value.strip())):
        size = float(found["number"]) * SIZES[found["unit"]]
    elif _is_whole(value):
        size = float(value) if 0 < value < SIZES["GiB"] ** 2 else math.nan
    if size >= 1:
        return int(size)
    raise ConfigError(
        f"memory is a number with a unit ({', '.join(SIZES)}), such as '8GB', or a whole number of bytes, or None; got "
        f"{shown(value)}."
    )


def shown(value: object) -> str:
    """Return a value as a message shows it, cut where it is long."""
    text = repr(value) if not _is_whole(value) or abs(value) < 10**60 else "a number of more than 60 digits"  # type: ignore[arg-type]
    return text if len(text) <= 60 else f"{text[:57]}..."


def _is_whole(value: object) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool | np.timedelta64)
