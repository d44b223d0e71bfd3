"""What a kind of problem brings to a report: sections, a baseline, and scores of rows that are drawn again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from thermocline.contracts.labelled import Labelled
from thermocline.data.batches import Rows
from thermocline.report.sections import Section


@dataclass(frozen=True, eq=False)
class Results:
    """What a pass over labelled rows gave.

    Attributes:
        found: The frame and its labels.
        rows: Its rows, with encoded labels where the kind has some.
        outputs: `Collector.outputs()` of a pass that scores.
        kept: What a kind keeps of its own, so that it is computed once.
    """

    found: Labelled
    rows: Rows
    outputs: Any
    kept: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Told:
    """What a kind of problem tells in a report beside the scores.

    Attributes:
        sections: In order.
        unit: What a row is, such as `row` or `image`.
        baseline: What the baseline answers, in words; empty: there is none.
        baseline_scores: Metric → what the baseline scores on the same rows.
        notes: What a reader should know.
    """

    sections: tuple[Section, ...] = ()
    unit: str = "row"
    baseline: str = ""
    baseline_scores: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Redrawn:
    """How rows that are drawn again, with replacement, are scored; see `evaluation.bootstrap`.

    Attributes:
        compute: `(counts, metrics) -> {metric: scores}`: how often each row was drawn, int64 `(draws, rows)`, gives
            float64 `(draws,)`, NaN where the rows of a draw do not define the metric.
        slow: Metrics that are computed draw by draw, of which fewer draws are taken.
        size: What one draw costs, in rows.
    """

    compute: Callable[[np.ndarray, Sequence[Any]], Mapping[str, np.ndarray]]
    slow: frozenset[str] = frozenset()
    size: int = 1
