"""Shares of rows for validation, and rows drawn for it: functions of the seed."""

from __future__ import annotations

import numpy as np

from thermocline.errors import counted

SPLIT_STREAM = 0x5B11
"""Tells the random numbers of splits from others of the same seed."""


def valid_share(n: int, fraction: float | None) -> tuple[float, str]:
    """Return the share of `n` rows for validation, and why.

    Args:
        n: Rows.
        fraction: The share that was asked for, or None.
    """
    if fraction is not None:
        return fraction, "given"
    # at least 150 rows where a fifth of the data has them, a tenth up to 500, a twentieth of very many
    return float(np.clip(max(150 / n, min(0.1, 500 / n)), 0.05, 0.2)), f"{n} rows"


def size_note(n: int, held: int, fraction: float | None) -> str:
    """Return what was asked for where another share was split off, or an empty string.

    Args:
        n: Rows.
        held: How many of them validate.
        fraction: The share that was asked for, or None.
    """
    if fraction is None or abs(held - fraction * n) <= 1:
        return ""
    return f" (asked for: data.valid_fraction={fraction:g}, split off: {held / n:.3g})"


def split_note(train: int, valid: int, what: str, reason: str) -> str:
    """Return the note that says how many rows, or what else is split, train and how many validate."""
    return (
        f"{counted(train, f'{what} trains', f'{what}s train')}, {valid:,} {'validates' if valid == 1 else 'validate'} "
        f"({reason})"
    )


def random_rows(n: int, count: int, seed: int) -> np.ndarray:
    """Return `count` of `n` row positions, sorted."""
    return np.sort(np.random.default_rng([seed, SPLIT_STREAM]).permutation(n)[:count])
