"""What the score of a fit is seen against."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Baseline:
    """What predicts the same for every row.

    Attributes:
        name: What it is, such as `the majority class`.
        score: Of the metric that validation goes by, on the validation rows.
    """

    name: str
    score: float


@dataclass(frozen=True)
class Reference:
    """What the score of a fit is seen against; a function of the data.

    Attributes:
        train_rows: Rows that trained.
        valid_rows: Rows that validated.
        baseline: What predicts the same for every row; None where a kind of problem has no such thing.
    """

    train_rows: int
    valid_rows: int
    baseline: Baseline | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain data that JSON can hold."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Reference:
        """Return what `to_dict` wrote."""
        found = data["baseline"]
        baseline = None if found is None else Baseline(str(found["name"]), float(found["score"]))
        return cls(int(data["train_rows"]), int(data["valid_rows"]), baseline)
