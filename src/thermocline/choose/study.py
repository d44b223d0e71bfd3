"""The study of a search: which values each trial has, how it ended, and whether it is worth going on with."""

from __future__ import annotations

import json
import math
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, PatientPruner
from optuna.trial import FrozenTrial, Trial, TrialState

from thermocline.choose.facts import differences
from thermocline.choose.folder import folder_of
from thermocline.choose.leaderboard import COMPLETE, FAILED, PRUNED, RUNNING, Entry
from thermocline.choose.sampler import Sampler
from thermocline.choose.settings import SearchSettings
from thermocline.choose.storage import open_storage, reaching
from thermocline.config import Space
from thermocline.errors import StorageError

FACTS, SURPLUS, OWNER, FOLDER, HOST, PROCESS, SECONDS, WHY, IDENTITY = (
    f"thermocline:{name}"
    for name in ("facts", "surplus", "owner", "folder", "host", "process", "seconds", "why", "identity")
)
"""Names under which the storage holds what is ours."""

PATIENCE = 5
HYPERBAND_FROM = 60
_STATES = {
    TrialState.COMPLETE: COMPLETE,
    TrialState.PRUNED: PRUNED,
    TrialState.FAIL: FAILED,
    TrialState.RUNNING: RUNNING,
    TrialState.WAITING: RUNNING,
}


@dataclass(frozen=True)
class Plan:
    """What a search is about.

    Attributes:
        spaces: The options that differ between trials.
        starts: The values of the first trials: by dotted name, a number or the text of a choice.
        metric: The metric that decides.
        greater_is_better: Whether more of it is better.
        seed: The seed.
        facts: What makes this search this one, as JSON has it.
    """

    spaces: Mapping[str, Space]
    starts: Sequence[Mapping[str, Any]]
    metric: str
    greater_is_better: bool
    seed: int
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class OpenTrial:
    """A trial that is this process's to carry out.

    Attributes:
        number: Counted from 1.
        values: The value of each option.
        handle: The study's own object.
        taken_up: Whether an earlier process began it.
    """

    number: int
    values: Mapping[str, Any]
    handle: Trial
    taken_up: bool = False

    @property
    def name(self) -> str:
        """What it is called."""
        return name_of(self.number)


@dataclass(frozen=True)
class SavedTrial:
    """A complete trial and where its predictor was saved.

    Attributes:
        number: Counted from 1.
        score: Its score.
        folder: The folder, on the machine that carried it out.
        owner: The search folder that it is in.
        identity: The identity of the saved run.
    """

    number: int
    score: float
    folder: Path
    owner: str
    identity: str

    @property
    def name(self) -> str:
        """What it is called."""
        return name_of(self.number)


def name_of(number: int) -> str:
    """Return what a trial is called; numbers count from 1."""
    return f"trial {number}"


class TrialStudy:
    """A study, which several processes may share. Each trial is carried out by one of them, and none is left out.

    Args:
        settings: Where it is kept, and how many trials it has.
        plan: What it is about.

    Raises:
        StorageError: The storage cannot be reached, or holds another search under this name.
    """

    def __init__(self, settings: SearchSettings, plan: Plan) -> None:
        self.settings, self.plan = settings, plan
        storage = open_storage(settings)
        with reaching(settings):
            self._study = optuna.create_study(
                storage=storage,
                study_name=settings.study,
                sampler=Sampler(plan.seed, plan.starts),
                pruner=pruner_for(settings.trials),
                direction="maximize" if plan.greater_is_better else "minimize",
                load_if_exists=True,
            )
        self._check_facts()

    def ask(self, root: Path, owner: str) -> OpenTrial | None:
        """Return the next trial, or None where the study has all of its trials.

        Args:
            root: The folder below which this process saves trials.
            owner: Tells this folder from those of other processes.
        """
        with reaching(self.settings):
            if self._count() >= self.settings.trials:
                return None
            trial = self._study.ask()
            if self._count(before=trial.number) >= self.settings.trials:  # another process was faster
                trial.set_user_attr(SURPLUS, value=True)
                self._study.tell(trial, state=TrialState.FAIL)
                return None
            whose = {OWNER: owner, FOLDER: str(root / folder_of(trial.number + 1))}
            for name, value in {**whose, HOST: socket.gethostname(), PROCESS: os.getpid()}.items():
                trial.set_user_attr(name, value)
            return self._opened(trial)

    def unfinished(self, owner: str) -> list[OpenTrial]:
        """Return trials that a process which saved in a search folder began and did not end: it was stopped.

        Args:
            owner: The folder; the caller holds its lock, so no process is at work there.
        """
        with reaching(self.settings):
            own = [one for one in self._trials() if one.user_attrs.get(OWNER) == owner]
            begun = [one for one in own if one.state == TrialState.RUNNING]
            return [self._opened(Trial(self._study, one._trial_id), taken_up=True) for one in begun]

    def report(self, trial: OpenTrial, score: float, validation: int) -> bool:
        """Note a score on the way.

        Args:
            trial: The trial.
            score: The score, in the metric's own direction.
            validation: The number of the validation, counted from 0.

        Returns:
            Whether the trial is to be given up: it has not got better for some validations, and is behind the others.
        """
        if not math.isfinite(score):
            return False
        with reaching(self.settings):
            trial.handle.report(score, validation)
            return trial.handle.should_prune()

    def complete(self, trial: OpenTrial, score: float, seconds: float, identity: str) -> None:
        """Note that a trial came to its end, and under which identity it was saved."""
        with reaching(self.settings):
            trial.handle.set_user_attr(IDENTITY, identity)
            trial.handle.set_user_attr(SECONDS, seconds)
            self._study.tell(trial.handle, score)

    def give_up(self, trial: OpenTrial, seconds: float, why: str, *, failed: bool) -> None:
        """Note that a trial was pruned, or failed, and why."""
        with reaching(self.settings):
            trial.handle.set_user_attr(WHY, why)
            trial.handle.set_user_attr(SECONDS, seconds)
            self._study.tell(trial.handle, state=TrialState.FAIL if failed else TrialState.PRUNED)

    def entries(self) -> tuple[Entry, ...]:
        """Return all trials of the study, those of other processes too."""
        with reaching(self.settings):
            return tuple(self._entry(one) for one in self._trials())

    def saved(self) -> list[SavedTrial]:
        """Return the complete trials, the best first, among equals the earlier one."""
        with reaching(self.settings):
            complete = [one for one in self._trials() if one.state == TrialState.COMPLETE and one.value is not None]
            found = [_saved(one) for one in complete]
        sign = -1 if self.plan.greater_is_better else 1
        return sorted(found, key=lambda one: sign * one.score)

    def _trials(self) -> list[FrozenTrial]:
        return [one for one in self._study.get_trials(deepcopy=False) if SURPLUS not in one.user_attrs]

    def _count(self, before: int | None = None) -> int:
        return sum(before is None or one.number < before for one in self._trials())

    def _opened(self, trial: Trial, *, taken_up: bool = False) -> OpenTrial:
        drawn = {path: _suggest(trial, space) for path, space in self.plan.spaces.items()}
        values = {path: self.plan.spaces[path].value(value) for path, value in drawn.items()}
        return OpenTrial(trial.number + 1, values, trial, taken_up)

    def _entry(self, trial: FrozenTrial) -> Entry:
        spaces = self.plan.spaces
        values = {path: spaces[path].value(trial.params[path]) for path in spaces if path in trial.params}
        ended = trial.state.is_finished() and trial.value is not None
        last = trial.intermediate_values[max(trial.intermediate_values)] if trial.intermediate_values else None
        return Entry(
            name_of(trial.number + 1),
            values,
            trial.value if ended else last,
            trial.user_attrs.get(SECONDS),
            _STATES[trial.state],
            str(trial.user_attrs.get(WHY, "")),
        )

    def _check_facts(self) -> None:
        """Check that what the storage holds is this search, or nothing.

        Raises:
            StorageError: It is another.
        """
        facts = dict(self.plan.facts)
        with reaching(self.settings):
            begun = bool(self._study.get_trials(deepcopy=False))  # before the facts, which are written before a trial
            held = self._study.user_attrs.get(FACTS)
            if held is None and not begun:
                self._study.set_user_attr(FACTS, json.dumps(facts))
        if held is None and not begun:
            return
        differing = ["it is not of Thermocline"] if held is None else differences(json.loads(held), facts)
        if differing:
            raise StorageError(
                f"The storage {self.settings.where} holds another search under the name {self.settings.study!r}. What "
                "differs:\n  " + "\n  ".join(differing) + "\nTrials of both cannot be compared. Give another storage, "
                "or another name: search={'study': …}."
            )


def pruner_for(trials: int) -> BasePruner:
    """Return what decides which trials are given up.

    A trial is given up where it has not got better for some validations and is behind the median of the others
    (Golovin et al. 2017); in a long search by Hyperband (Li et al. 2018).

    Args:
        trials: Trials of the search.
    """
    if trials >= HYPERBAND_FROM:
        return HyperbandPruner()
    return PatientPruner(MedianPruner(), PATIENCE)


def _suggest(trial: Trial, space: Space) -> Any:
    path = space.key.path
    if space.kind == "choice":
        return trial.suggest_categorical(path, list(space.choices))
    if space.kind == "int":
        return trial.suggest_int(path, int(space.low), int(space.high), step=int(space.step or 1))
    return trial.suggest_float(path, space.low, space.high, step=space.step, log=space.kind == "loguniform")


def _saved(trial: FrozenTrial) -> SavedTrial:
    about = trial.user_attrs
    assert trial.value is not None
    folder, owner, identity = Path(str(about[FOLDER])), str(about[OWNER]), str(about[IDENTITY])
    return SavedTrial(trial.number + 1, trial.value, folder, owner, identity)
