"""Two processes share one study: no trial is lost, and none is carried out twice."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import optuna
import pytest

from support.shared_search import TRIALS
from thermocline.choose.settings import SearchSettings
from thermocline.choose.storage import open_storage, quiet
from thermocline.choose.study import PROCESS, SURPLUS

TESTS = Path(__file__).parents[1]


def both(folder: Path, storage: str) -> list[dict[str, Any]]:
    """Run two processes, and return what each of them said."""
    command = [sys.executable, "-m", "support.shared_search", str(folder)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])}
    processes = [
        subprocess.Popen([*command, name, storage], stdout=subprocess.PIPE, text=True, env=environment)
        for name in ("one", "two")
    ]
    said = [process.communicate(timeout=300)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    return [json.loads(text.splitlines()[-1]) for text in said]


def trials_in(storage: str) -> list[optuna.trial.FrozenTrial]:
    with quiet():
        kept = open_storage(SearchSettings.of({"trials": 1, "storage": storage}))
        return optuna.load_study(study_name="thermocline", storage=kept).get_trials()


@pytest.mark.parametrize("storage", ["{folder}/study.log", "sqlite:///{folder}/study.db"])
def test_two_processes_share_one_study_without_a_lost_or_doubled_trial(tmp_path: Path, storage: str) -> None:
    where = storage.format(folder=tmp_path)
    told = both(tmp_path, where)
    held = trials_in(where)
    trials = [one for one in held if SURPLUS not in one.user_attrs]
    assert [one.number for one in trials] == list(range(TRIALS))  # none is lost
    assert {one.state.name for one in trials} == {"COMPLETE"}
    carried_out = Counter(one.user_attrs[PROCESS] for one in trials)
    assert carried_out == {one["process"]: one["fits"] for one in told}  # each by one of them, and once
    assert min(carried_out.values()) > 0
    values = {tuple(sorted(one.params.items())) for one in trials}
    assert len(values) == TRIALS  # the same seed, and yet no values twice
    last = max(told, key=lambda one: sum(row["state"] == "complete" for row in one["board"]))
    assert len(last["board"]) == TRIALS
    assert last["board"][0]["score"] == min(one.value for one in trials if one.value is not None)
    kept = [row for one in told for row in one["board"] if row["why"] == "kept"]
    assert len(kept) == 2
