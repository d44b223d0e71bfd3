"""What a race remembers on the disk: who takes part, and how each fit ended. A killed race goes on from it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from thermocline.choose.facts import differences
from thermocline.choose.folder import STATE
from thermocline.choose.portfolio import Entrant
from thermocline.choose.race_times import Times
from thermocline.config import ResolvedConfig
from thermocline.errors import ArtifactError, ResumeError


@dataclass(frozen=True)
class Result:
    """How a fit of a race ended.

    Attributes:
        number: The number of its entrant.
        share: The share of the steps that it took, in words, or `whole`.
        score: Its validation score; None where it has none.
        seconds: What it took, since the result before it of the same entrant.
        values: Option → its value, of the options that differ between the fits.
        steps: Optimizer steps of the whole schedule.
        times: What it took by what.
        failed: Why it failed, or nothing.
    """

    number: int
    share: str
    score: float | None
    seconds: float
    values: Mapping[str, Any] = field(default_factory=dict)
    steps: int = 0
    times: Times = field(default_factory=Times)
    failed: str = ""


class RaceState:
    """The state of a race, in a folder. Each change is written at once, all or nothing.

    Args:
        root: The folder.
        facts: What makes the race this one.

    Attributes:
        entrants: Those that take part besides the fit as it was asked for; None: not decided yet.
        asked: Option → the value that the fit as it was asked for has, of the options that others change.

    Raises:
        ResumeError: The folder holds another race.
        ArtifactError: What it holds cannot be read.
    """

    def __init__(self, root: Path, facts: Mapping[str, Any]) -> None:
        self.root, self.facts = root, dict(facts)
        self.entrants: tuple[Entrant, ...] | None = None
        self.asked: dict[str, Any] = {}
        self._results: dict[str, Result] = {}
        if self._file.is_file():
            self._read()

    def decide(self, entrants: Sequence[Entrant], config: ResolvedConfig) -> None:
        """Keep who takes part, and what the fit as it was asked for has in place of what they change."""
        self.entrants = tuple(entrants)
        self.asked = {key: config[key] for one in entrants for key in one.options}
        self._write()

    def result(self, number: int, share: str) -> Result | None:
        """Return how a fit ended; None where it did not yet."""
        return self._results.get(_key(number, share))

    def last(self, number: int) -> Result | None:
        """Return the last result of an entrant."""
        found = self.results(number)
        return found[-1] if found else None

    def results(self, number: int) -> list[Result]:
        """Return all results of an entrant, in their order."""
        return [one for one in self._results.values() if one.number == number]

    def put(self, result: Result, losses: np.ndarray | None) -> None:
        """Keep how a fit ended, with its losses by validation row."""
        key = _key(result.number, result.share)
        if losses is not None:
            np.save(self.root / f"losses-{key}.npy", losses)
        self._results[key] = result
        self._write()

    def losses(self, number: int, share: str) -> np.ndarray | None:
        """Return the losses of a fit by validation row."""
        file = self.root / f"losses-{_key(number, share)}.npy"
        return np.load(file, allow_pickle=False) if file.is_file() else None

    @property
    def _file(self) -> Path:
        return self.root / STATE

    def _read(self) -> None:
        try:
            held = json.loads(self._file.read_text(encoding="utf-8"))
            facts, entrants = dict(held["facts"]), held["entrants"]
            results = [Result(**{**one, "times": Times(**one["times"])}) for one in held["results"]]
            asked = dict(held["asked"])
            found = None if entrants is None else tuple(Entrant(**one) for one in entrants)
        except (KeyError, TypeError, ValueError) as error:
            raise ArtifactError(
                f"{str(self._file)!r} cannot be read ({type(error).__name__}: {error}): somebody changed it. Start the "
                "race anew with resume=False, which replaces it."
            ) from error
        different = differences(facts, self.facts)
        if different:
            raise ResumeError(
                f"{str(self.root)!r} holds another race, and resume=True only continues the same one. What changed:\n  "
                + "\n  ".join(different)
                + "\nUndo this, choose another path, or start anew with resume=False."
            )
        self.entrants, self.asked = found, asked
        self._results = {_key(one.number, one.share): one for one in results}

    def _write(self) -> None:
        entrants = None if self.entrants is None else [asdict(one) for one in self.entrants]
        results = [asdict(one) for one in self._results.values()]
        held = {"facts": self.facts, "entrants": entrants, "asked": self.asked, "results": results}
        text = json.dumps(held, indent=1)
        draft = self._file.with_suffix(".tmp")
        draft.write_text(text, encoding="utf-8")
        draft.replace(self._file)


def _key(number: int, share: str) -> str:
    return f"{number}-{share.replace('/', '_')}"
