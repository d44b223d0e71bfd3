"""A search: fits with different values on the same rows, of which the best is kept (Optuna)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from thermocline.choose.folder import SUFFIX, SearchFolder
from thermocline.choose.leaderboard import FAILED, STOPPED, Leaderboard
from thermocline.choose.pruning import Pruned, Pruning
from thermocline.choose.study import OpenTrial, Plan, SavedTrial, TrialStudy
from thermocline.config import Drawn
from thermocline.contracts.request import Request
from thermocline.errors import (
    ArtifactError,
    OutputExistsError,
    OutputInUseError,
    OutputWriteError,
    SearchError,
    StorageError,
    ThermoclineError,
    first_line,
)
from thermocline.pipeline import artifact, resume
from thermocline.pipeline.fit import fit
from thermocline.pipeline.fitted import Fitted
from thermocline.pipeline.places import remove_checkpoints
from thermocline.pipeline.saved_folder import identity_of, writing_to
from thermocline.report.console import Console
from thermocline.training.time_limit import TimeLimit

OF_A_TRIAL = (ThermoclineError, MemoryError, torch.OutOfMemoryError)
"""Errors that are of one trial's values."""
OF_ALL = (OutputExistsError, OutputInUseError, OutputWriteError, StorageError)
"""Those of them that are of the place where all trials are kept."""


@dataclass(frozen=True)
class Stopped:
    """What Ctrl-C left of a trial.

    Attributes:
        trial: The trial.
        score: The score of what it kept; NaN where it kept nothing.
        seconds: What it took.
        identity: Under which it was saved.
    """

    trial: OpenTrial
    score: float
    seconds: float
    identity: str


class Search:
    """Carries trials out, one after the other, until the study has all of them, the time is up, or Ctrl-C.

    Args:
        request: The fit that was asked for.
        study: The study.
        folder: Where trials are saved.
        limit: The time.
    """

    def __init__(self, request: Request, study: TrialStudy, folder: SearchFolder, limit: TimeLimit) -> None:
        self.request, self.study, self.folder, self.limit = request, study, folder, limit
        self.plan: Plan = study.plan
        self.console = Console(request.verbosity)
        self.errors: list[tuple[OpenTrial, BaseException]] = []
        self.seconds: list[float] = []  # of own complete trials
        self.stopped: Stopped | None = None
        self.interrupted = False

    def run(self) -> None:
        """Carry out trials."""
        try:
            for trial in self._trials():
                self._try(trial, self.limit.elapsed)
        except KeyboardInterrupt:  # between two trials
            self.interrupted = True

    def result(self) -> Fitted:
        """Return the best of the trials, loaded from where it was saved, with all of them as its leaderboard.

        Raises:
            SearchError: None of them can be loaded.
            ThermoclineError: All of them failed; it is the error of the first.
        """
        board = self.leaderboard()
        trust = artifact.Trust.of(self.request, remote_code=resume.trusts_remote_code(self._trial_request(None)))
        missing: list[str] = []
        for name, folder, identity in self._candidates():
            fitted = self._loaded(folder, identity, trust)
            if fitted is None:
                missing.append(name)
                continue
            missing = [one for one in dict.fromkeys(missing) if one != name]
            if missing:
                self.console.say(
                    f"at least as good, but saved where it cannot be loaded from here: {', '.join(missing)}"
                )
            self.console.say(f"kept: {name}")
            kept = board.with_kept(name).to_dict()
            return replace(fitted, leaderboard=kept, ended=not self.interrupted)
        raise self._nothing(board)

    def _loaded(self, folder: Path, identity: str, trust: artifact.Trust) -> Fitted | None:
        """Return a saved trial; None where it is not there, or another process is removing it from its own folder."""
        if identity_of(folder) != identity:
            return None
        try:
            return artifact.load(folder, trust)
        except ArtifactError:
            if folder.parent == self.folder.root:
                raise
            return None

    def leaderboard(self) -> Leaderboard:
        """Return all trials of the study."""
        entries = self.study.entries()
        if self.stopped is not None:
            stopped = self.stopped
            score = None if math.isnan(stopped.score) else stopped.score
            changes: dict[str, Any] = {"score": score, "seconds": stopped.seconds, "state": STOPPED}
            changes["why"] = "stopped by Ctrl-C"
            entries = tuple(replace(one, **changes) if one.name == stopped.trial.name else one for one in entries)
        return Leaderboard(self.plan.metric, self.plan.greater_is_better, entries, self.plan.facts)

    # one trial

    def _trials(self) -> Iterator[OpenTrial]:
        root, owner = self.folder.root, self.folder.owner
        if self.folder.lasts:
            yield from self._while_going(iter(self.study.unfinished(owner)))
        yield from self._while_going(iter(lambda: self.study.ask(root, owner), None))

    def _while_going(self, trials: Iterator[OpenTrial | None]) -> Iterator[OpenTrial]:
        while not self.interrupted and self._in_time():
            trial = next(trials, None)
            if trial is None:
                return
            yield trial

    def _in_time(self) -> bool:
        """Say whether the time is enough for another trial: for one as long as the shortest was."""
        return self.limit.left > 0 and self.limit.allows(min(self.seconds, default=0.0))

    def _try(self, trial: OpenTrial, begin: float) -> None:
        """Carry a trial out; one that fails, is pruned or is stopped is noted."""
        try:
            self._carry_out(trial, begin)
        except Pruned as why:
            self._given_up(trial, begin, str(why), failed=False)
        except OF_ALL:
            self._abandon(trial, begin)
            raise
        except OF_A_TRIAL as error:
            self.errors.append((trial, error))
            self._given_up(trial, begin, f"{type(error).__name__}: {first_line(error)}", failed=True)
        except KeyboardInterrupt:
            self._interrupt(Stopped(trial, math.nan, self.limit.elapsed - begin, ""))
        except BaseException:  # of a callback of the caller's, for example
            self._abandon(trial, begin)
            raise

    def _carry_out(self, trial: OpenTrial, begin: float) -> None:
        path = self.folder.trial(trial.number)
        self.console.say(f"{trial.name} of {self.study.settings.trials}{_shown(trial)}")
        fitted = fit(self._trial_request(trial))
        seconds = self.limit.elapsed - begin
        score = fitted.history.kept_scores.get(self.plan.metric, math.nan)
        if fitted.ended and not math.isfinite(score):
            raise SearchError(f"it has no score: {self.plan.metric} is not defined on the validation rows, or no time")
        with writing_to(path):  # what a save that was killed left is put right
            artifact.save(fitted, path, overwrite=True)
        if not fitted.ended:
            self._interrupt(Stopped(trial, score, seconds, fitted.identity))
            return
        self.study.complete(trial, score, seconds, fitted.identity)
        self.seconds.append(seconds)
        remove_checkpoints(path, fitted.identity)
        best = self._keep_best()
        told = "the best so far" if best.name == trial.name else f"the best so far is {best.name}, {best.score:.4f}"
        self.console.say(f"{trial.name}: {self.plan.metric} {score:.4f} ({seconds:.0f} s); {told}")

    def _trial_request(self, trial: OpenTrial | None) -> Request:
        """Return the fit of a trial: ordinary, with the values that were drawn, and a folder of its own."""
        asked = self.request
        if trial is None:
            return replace(asked, drawn=Drawn("no trial"))
        return replace(
            asked,
            drawn=Drawn(trial.name, trial.values),
            path=self.folder.trial(trial.number) if self.folder.lasts else None,
            time_limit=None if self.limit.seconds is None else self.limit.left,
            began=None,
            resume=trial.taken_up and self._has_checkpoints(trial),
            callbacks=(*asked.callbacks, Pruning(self.study, trial)),
            verbosity=max(0, asked.verbosity - 1),
        )

    def _has_checkpoints(self, trial: OpenTrial) -> bool:
        path = self.folder.trial(trial.number)
        return path.with_name(f"{path.name}-checkpoints").is_dir()

    def _given_up(self, trial: OpenTrial, begin: float, why: str, *, failed: bool) -> None:
        self.study.give_up(trial, self.limit.elapsed - begin, why, failed=failed)
        self.folder.discard(trial.number)
        self.console.say(f"{trial.name} {'failed' if failed else 'pruned'}: {why}")

    def _abandon(self, trial: OpenTrial, begin: float) -> None:
        """Note a trial that ends with the search, where none can go on with it."""
        if not self.folder.lasts:
            with suppress(StorageError):
                self.study.give_up(trial, self.limit.elapsed - begin, "the search ended by an error", failed=True)

    def _interrupt(self, stopped: Stopped) -> None:
        """End the search; a trial that can go on stays unfinished in the study."""
        self.interrupted, self.stopped = True, stopped
        if not self.folder.lasts:
            self.study.give_up(stopped.trial, stopped.seconds, "stopped by Ctrl-C", failed=True)

    def _keep_best(self) -> SavedTrial:
        """Remove what this process saved of trials that are not its best, and return the best one."""
        best, *others = [one for one in self.study.saved() if one.owner == self.folder.owner]
        for one in others:
            self.folder.discard(one.number)
        return best

    # the end

    def _candidates(self) -> Iterator[tuple[str, Path, str]]:
        """Yield what may be kept, the best first: name, folder and identity.

        What another process saved below its own path is at that path once its search has ended.
        """
        found = [(one.score, one.name, one.folder, one.identity) for one in self.study.saved()]
        stopped, sign = self.stopped, -1 if self.plan.greater_is_better else 1
        if stopped is not None and stopped.identity:
            folder = self.folder.trial(stopped.trial.number)
            found.append((stopped.score, stopped.trial.name, folder, stopped.identity))
        for _, name, folder, identity in sorted(found, key=lambda one: (math.isnan(one[0]), sign * one[0])):
            yield name, folder, identity
            yield name, Path(str(folder.parent).removesuffix(SUFFIX)), identity

    def _nothing(self, board: Leaderboard) -> BaseException:
        """Return the error of a search without a model."""
        if self.interrupted:
            return KeyboardInterrupt()
        if self.errors and all(one.state == FAILED for one in board.entries):
            trial, error = self.errors[0]
            kind = type(error) if isinstance(error, ThermoclineError) else SearchError
            return kind(f"All {len(board.entries)} trials failed. The first, {trial.name}{_shown(trial)}: {error}")
        lines = [f"{one.name}: {one.state} {one.why}".rstrip() for one in board.entries]
        return SearchError(
            "No trial of the search gave a model that can be loaded here. Its trials:\n  "
            + "\n  ".join(lines or ["none began within time_limit"])
            + "\nGive more time, or load a trial of another process where it was saved."
        )


def _shown(trial: OpenTrial) -> str:
    return ": " + ", ".join(f"{path}={_value(value)}" for path, value in trial.values.items())


def _value(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
