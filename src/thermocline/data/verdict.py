"""What a column is taken for, and why."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Verdict:
    """What a column is taken for.

    Attributes:
        kind: `numeric`, `categorical`, `text`, `image` or `null`.
        reason: Why, with counts.
        form: How the values are written: see `Column.form`.
    """

    kind: str
    reason: str
    form: str = ""
