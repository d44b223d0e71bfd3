"""What a report holds, without how it is shown."""

from __future__ import annotations

from dataclasses import dataclass

from thermocline.report.sections import Section


@dataclass(frozen=True)
class Score:
    """A metric on the rows of a report.

    Attributes:
        name: Its name, as in `Predictor.evaluate`.
        value: What it is; NaN where the rows do not define it.
        low: The lower end of the 95 % interval; None where there is none.
        high: Its upper end.
        baseline: What the baseline scores on the same rows; None where there is none.
        greater_is_better: Whether more is better; None where that is not known.
        note: Why there is no value, or nothing.

    Example:
        >>> Score("accuracy", 0.9, 0.85, 0.94, baseline=0.6, greater_is_better=True).value
        0.9
    """

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    baseline: float | None = None
    greater_is_better: bool | None = None
    note: str = ""


@dataclass(frozen=True)
class Content:
    """What a report holds; the fields are explained in `EvaluationReport`."""

    problem_type: str
    label: str
    rows: int
    unit: str = "row"
    scores: tuple[Score, ...] = ()
    sections: tuple[Section, ...] = ()
    baseline: str = ""
    draws: int = 0
    notes: tuple[str, ...] = ()
