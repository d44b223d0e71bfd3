"""How a fit ended: what was kept, its score beside simpler ones, the time it took, and what to do next."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from thermocline.contracts.baseline import Reference
from thermocline.efficiency.costs.estimate import duration
from thermocline.errors import counted
from thermocline.pipeline.fitted import Fitted
from thermocline.registry import metric_of
from thermocline.report.headed import Headed, Section
from thermocline.training.history import KEPT

_LEAST_SHOWN = 0.005  # seconds of a stage


@dataclass(frozen=True)
class Compared:
    """The score of something simpler than the model that is kept.

    Attributes:
        name: What it is, such as `the majority class`.
        score: Its score on the same validation rows.
        gain: By how much the kept score is better, in units of the metric; negative where it is worse.
    """

    name: str
    score: float
    gain: float


@dataclass(frozen=True, repr=False)
class FitSummary:
    """How a fit ended, as a text that prints, HTML in a notebook, and plain data.

    Attributes:
        kept: What was kept, such as `step 40, with trees (0.40)`.
        metric: The metric that validation went by.
        score: Of what was kept, on the validation rows; None where they were not scored.
        compared: What it is seen against: the start of the head, and what predicts the same for every row.
        train_rows: Rows that trained; None where that is not known (saved by an earlier version).
        valid_rows: Rows that validated; likewise.
        seconds: Stage → seconds, of the process that fitted; empty for a predictor that was loaded.
        others: Fits that were compared with this one (a search, a race), itself counted; 0 where it was the only one.
        ended: Whether the fit came to its end.
        saved_at: Where it was saved or loaded from; None: nowhere.

    Example:
        >>> summary = predictor.fit_summary()
        >>> summary.metric, sorted(summary.to_dict())[:3]
        ('roc_auc', ['compared', 'ended', 'kept'])
    """

    kept: str
    metric: str
    score: float | None
    compared: tuple[Compared, ...] = ()
    train_rows: int | None = None
    valid_rows: int | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
    others: int = 0
    ended: bool = True
    saved_at: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain data that JSON can hold."""
        return asdict(self) | {"compared": [asdict(one) for one in self.compared], "seconds": dict(self.seconds)}

    def headed(self) -> Headed:
        """Return what is printed.

        Example:
            >>> [section.heading for section in predictor.fit_summary().headed().sections]
            ['Kept', 'Score', 'Time', 'Saved', 'Next']
        """
        return Headed(
            "",
            (
                Section("Kept", [self.kept + ("" if self.ended else " (stopped before its end)")], 2),
                Section("Score", self._scores(), 4),
                Section("Time", self._time(), 2),
                Section("Saved", [self._saved()], 2),
                Section("Next", self._next(), 2),
            ),
        )

    def __str__(self) -> str:
        return str(self.headed())

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return self.headed().html()

    def _scores(self) -> list[str]:
        if self.score is None:
            return [f"{self.metric} is not known: nothing was validated"]
        rows = "" if self.valid_rows is None else f" of {counted(self.valid_rows, 'validation row')}"
        lines = [f"{self.metric} {self.score:.4f}{rows}"]
        return lines + [_against(one) for one in self.compared]

    def _time(self) -> list[str]:
        shown = {stage: seconds for stage, seconds in self.seconds.items() if seconds >= _LEAST_SHOWN}
        if not shown:
            return []
        parts = [f"{stage} {duration(seconds)}" for stage, seconds in shown.items()]
        return [f"{duration(sum(self.seconds.values()))}: {', '.join(parts)}"]

    def _saved(self) -> str:
        if self.saved_at is None:
            return "nowhere; predictor.save('my_model') does"
        return f"at {self.saved_at!r}; Predictor.load reads it"

    def _next(self) -> list[str]:
        then = ["predictor.predict(new_rows), .evaluate(test_rows), .report(test_rows)"]
        if self.others:
            then.append(f"predictor.leaderboard() lists the {counted(self.others, 'fit')} that were compared")
        return then


def summary_of(fitted: Fitted, saved_at: str | None, seconds: Mapping[str, float]) -> FitSummary:
    """Return how a fit ended.

    Args:
        fitted: What was fitted, or loaded.
        saved_at: Where it was saved or loaded from.
        seconds: Stage → seconds, saving included.
    """
    target, history, reference = fitted.assembly.target, fitted.history, fitted.reference
    metric = target.eval_metric
    rows = history.to_frame().to_dict(orient="records")
    notes = [str(row.get("note") or "") for row in rows]
    kept = next((note.removeprefix(KEPT) for note in reversed(notes) if note.startswith(KEPT)), "the last state")
    kept = _with_epoch(kept, rows)
    score = history.kept_scores.get(metric)
    sign = 1.0 if metric_of(fitted.assembly.problem.info, target).greater_is_better else -1.0
    simpler = [] if score is None else list(_simpler(rows, metric, kept, reference))
    compared = tuple(Compared(name, value, sign * ((score or 0.0) - value)) for name, value in simpler)
    board = fitted.leaderboard or {}
    return FitSummary(
        kept=kept,
        metric=metric,
        score=score,
        compared=compared,
        train_rows=None if reference is None else reference.train_rows,
        valid_rows=None if reference is None else reference.valid_rows,
        seconds=dict(seconds),
        others=len(board.get("entries", ())),
        ended=fitted.ended,
        saved_at=saved_at,
    )


def _simpler(
    rows: list[dict[Any, Any]], metric: str, kept: str, reference: Reference | None
) -> list[tuple[str, float]]:
    """Return name and score of step 0, where something else is kept, and of what predicts the same for every row."""
    found = []
    first = next((row for row in rows if row["step"] == 0 and _number(row.get(f"val_{metric}"))), None)
    if first is not None and not kept.startswith("step 0"):
        name, named, _ = str(first.get("note") or "").partition(":")
        name = f"the {name} at step 0" if named else "the model at step 0"
        found.append((name, float(first[f"val_{metric}"])))
    if reference is not None and reference.baseline is not None:
        found.append((reference.baseline.name, reference.baseline.score))
    return found


def _with_epoch(kept: str, rows: list[dict[Any, Any]]) -> str:
    """Return what was kept, with the epoch where it is one step."""
    found = re.match(r"step (\d+)", kept)
    epoch = next((row["epoch"] for row in rows if found and row["step"] == int(found[1])), None)
    if found is None or epoch is None:
        return kept
    return f"{found[0]} (epoch {epoch:.3g}){kept[found.end() :]}"


def _number(value: Any) -> bool:
    return isinstance(value, float) and math.isfinite(value)


def _against(one: Compared) -> str:
    if f"{abs(one.gain):.4f}" == "0.0000":
        return f"as good as {one.name} ({one.score:.4f})"
    return f"{abs(one.gain):.4f} {'better' if one.gain > 0 else 'worse'} than {one.name} ({one.score:.4f})"
