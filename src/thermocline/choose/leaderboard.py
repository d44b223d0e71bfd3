"""The table of the fits that were compared, and which one was kept."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from thermocline.errors import ArtifactError

if TYPE_CHECKING:
    from thermocline.choose.board import Board  # circle: a type

COMPLETE, PRUNED, FAILED, RUNNING, STOPPED = "complete", "pruned", "failed", "running", "stopped"
"""How a fit ended, or that it has not."""

KEPT, WHOLE = "kept", "whole"


@dataclass(frozen=True)
class Entry:
    """One fit of several that were compared.

    Attributes:
        name: What it is called, such as `trial 3`.
        values: Dotted name → value of each option that differs between the fits.
        score: Validation score of the state it kept, in the metric's own direction; of a fit that was pruned or stopped
            the last one. None without a score.
        seconds: What it took; None where that is not known.
        state: `complete`, `pruned`, `failed`, `running` (elsewhere, or by a process that was killed) or `stopped`.
        why: What else is to be said: why it failed, or `kept`.
        gain: By how much its loss of a validation row is below that of the fit as it was asked for, in the mean; None
            where fits are not compared by that.
        gain_error: The standard error of `gain`.
        losses: Share of the steps, such as `1/9`, or `whole` → the mean loss of the validation rows after it.
    """

    name: str
    values: Mapping[str, Any]
    score: float | None = None
    seconds: float | None = None
    state: str = RUNNING
    why: str = ""
    gain: float | None = None
    gain_error: float | None = None
    losses: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Leaderboard:
    """Fits that were compared on the same validation rows.

    Attributes:
        metric: The metric of the scores.
        greater_is_better: Whether more of it is better.
        entries: The fits, in the order in which they began.
        facts: What makes the comparison this one: name → value, as JSON has it.
    """

    metric: str
    greater_is_better: bool
    entries: tuple[Entry, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def ranked(self) -> tuple[Entry, ...]:
        """The fits that are complete, the best first, among equals the earlier one; then the others in their order."""
        complete = [one for one in self.entries if one.state == COMPLETE]
        others = [one for one in self.entries if one.state != COMPLETE]
        return (*sorted(complete, key=self._order), *others)

    def with_kept(self, name: str) -> Leaderboard:
        """Return the same with a note at the fit that was kept."""
        entries = tuple(replace(one, why=KEPT) if one.name == name else one for one in self.entries)
        return replace(self, entries=entries)

    def to_frame(self) -> Board:
        """Return a row for each fit, the best first: name, a column an option, score, seconds, state, why.

        Where fits were compared by losses of validation rows, these, `gain` and `gain_error` stand after the score.
        """
        from thermocline.choose.board import AFTER, LOSS, Board  # circle: it imports pandas, and this does not

        options = list(dict.fromkeys(option for one in self.entries for option in one.values))
        shares = sorted({share for one in self.entries for share in one.losses}, key=_length)
        losses = {share: LOSS if share == WHOLE else f"{AFTER}{share}" for share in shares}
        numbers = ["score", *losses.values(), *(("gain", "gain_error") if losses else ()), "seconds"]
        rows = []
        for one in self.ranked:
            gains = [one.gain, one.gain_error] if losses else []
            values = [one.score, *(one.losses.get(share) for share in losses), *gains, one.seconds]
            rows.append([one.name, *map(one.values.get, options), *values, one.state, one.why])
        frame = Board(rows, columns=["name", *options, *numbers, "state", "why"])
        return frame.astype(dict.fromkeys(numbers, "float64"))

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Leaderboard:
        """Return what `to_dict` wrote.

        Raises:
            ArtifactError: It is something else.
        """
        try:
            entries = tuple(Entry(**{**one, "values": dict(one["values"])}) for one in data["entries"])
            return cls(str(data["metric"]), bool(data["greater_is_better"]), entries, dict(data["facts"]))
        except (KeyError, TypeError, ValueError) as error:
            raise ArtifactError(
                f"The leaderboard of the saved predictor cannot be read ({type(error).__name__}: {error}): somebody "
                "changed it. Restore it from a copy."
            ) from error

    def _order(self, entry: Entry) -> float:
        score = math.nan if entry.score is None else entry.score
        return math.inf if math.isnan(score) else -score if self.greater_is_better else score


def _length(share: str) -> Fraction:
    return Fraction(1) if share == WHOLE else Fraction(share)
