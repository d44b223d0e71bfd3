"""A disk that fills up: training goes on where it can, what was written stays, and errors say how to go on."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest
from safetensors import SafetensorError

from support.tiny import TINY, make_table, told
from thermocline import Predictor
from thermocline.cli import main
from thermocline.errors import OutputWriteError, ThermoclineWarning
from thermocline.pipeline import artifact
from thermocline.training import best_states, checkpoint_store
from thermocline.training.best_states import BestStates
from thermocline.training.loggers import CSV, RunInfo
from thermocline.training.open_loggers import OpenLogger
from thermocline.training.trainer import Trainer

ONCE = {**TINY, "optim.max_epochs": 1, "env.checkpoint_every": 1}
FULL = "Error while serializing: I/O error: No space left on device (os error 28)"


def fit(path: Path | None, **more: object) -> Predictor:
    resume = bool(more.pop("resume", False))
    return Predictor("y", path=path, verbosity=0).fit(make_table(40), hyperparameters={**ONCE, **more}, resume=resume)


def full(times: list[int] | None = None):
    """A disk that takes the first half of a file, as safetensors reports it; from a call on, where that is given."""
    calls = []

    def save(tensors, filename, *_):
        calls.append(1)
        if times is not None and len(calls) not in times:
            return original(tensors, filename)
        Path(filename).write_bytes(b"half")
        raise SafetensorError(FULL)

    original = checkpoint_store.save_file
    return save


def test_a_checkpoint_that_cannot_be_written_is_warned_of_once(tmp_path, monkeypatch):
    expected = fit(None).predict_proba(make_table(10))
    monkeypatch.setattr(checkpoint_store, "save_file", full())
    with pytest.warns(ThermoclineWarning) as caught:
        predictor = fit(tmp_path / "run")
    (message,) = [str(one.message) for one in caught if issubclass(one.category, ThermoclineWarning)]
    assert (
        f"No checkpoint of step 0: {str(tmp_path / 'run-checkpoints' / 'step-000000000')!r} cannot be written"
        in message
    )
    assert "No space left on device" in message
    assert "it needs" in message
    assert "are free there" in message
    assert "Training goes on" in message
    assert predictor.predict_proba(make_table(10)).equals(expected)
    assert not list(tmp_path.rglob(".writing-*"))
    assert (tmp_path / "run" / "thermocline.json").is_file()


def test_those_before_it_stay_and_the_next_is_tried(tmp_path, monkeypatch):
    """A checkpoint writes two files here, so the fourth call is in the second one."""
    kept = []
    prune = checkpoint_store.CheckpointStore._prune
    monkeypatch.setattr(
        checkpoint_store.CheckpointStore, "_prune", lambda self, step: (kept.append(step), prune(self, step))
    )
    monkeypatch.setattr(checkpoint_store, "save_file", full([4]))
    with pytest.warns(ThermoclineWarning, match="No checkpoint of step 1"):
        fit(tmp_path / "run", **{"optim.max_epochs": 2})
    assert kept[0] == 0
    assert 1 not in kept
    assert 2 in kept


def test_best_states(tmp_path, monkeypatch):
    monkeypatch.setattr(best_states, "save_file", full([2]))
    message = told(OutputWriteError, OSError, lambda: fit(tmp_path / "run"))
    assert "step-2.safetensors' cannot be written" in message
    assert "needs" in message
    assert "resume=True (--resume) goes on from the newest" in message
    assert not (tmp_path / "run").exists()
    monkeypatch.undo()
    resumed = fit(tmp_path / "run", resume=True)
    assert resumed.predict_proba(make_table(10)).equals(fit(None).predict_proba(make_table(10)))
    assert not (tmp_path / "run-checkpoints").exists()


def test_half_a_best_state_does_not_stay(tmp_path, monkeypatch):
    best = BestStates(tmp_path / "best", 1)
    monkeypatch.setattr(best_states, "save_file", full())
    with pytest.raises(OutputWriteError):
        best.offer(1, best_states.Scored(1.0), dict)
    assert not list((tmp_path / "best").iterdir())
    assert best.best is None


@pytest.mark.parametrize("error", [SafetensorError(FULL), OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))], ids=repr)
def test_the_final_save(tmp_path, monkeypatch, error):
    def save(*_):
        raise error

    monkeypatch.setattr(artifact, "save_model", save)
    path = tmp_path / "run"
    predictor = Predictor("y", path=path, verbosity=0)
    call = lambda: predictor.fit(make_table(40), hyperparameters=ONCE)  # noqa: E731
    message = told(OutputWriteError, OSError, call)
    assert f"{str(path)!r} cannot be written" in message
    assert (
        f"The checkpoints of the run in {str(tmp_path / 'run-checkpoints')!r} stay: free space and fit again" in message
    )
    assert "predictor.save('another_path')" in message
    assert sorted(one.name for one in tmp_path.iterdir() if one.suffix != ".lock") == ["run-checkpoints"]
    monkeypatch.undo()
    elsewhere = Predictor.load(predictor.save(tmp_path / "elsewhere"), verbosity=0)
    monkeypatch.setattr(Trainer, "validate", lambda *_: pytest.fail("it was trained again"))
    resumed = fit(path, resume=True)
    assert resumed.predict_proba(make_table(10)).equals(elsewhere.predict_proba(make_table(10)))


def test_the_command_line(tmp_path, monkeypatch, capsys):
    make_table(40).to_csv(tmp_path / "train.csv", index=False)
    monkeypatch.setattr(artifact, "save_model", full())
    options = [f"{key}={value}" for key, value in ONCE.items()]
    given = ["fit", str(tmp_path / "train.csv"), "--label", "y", "--out", str(tmp_path / "run")]
    assert main([*given, "--quiet", "--set", *options]) == 1
    assert "cannot be written" in capsys.readouterr().err


def test_a_logger_stops(tmp_path):
    logger = CSV(tmp_path / "a.csv")
    logger.begin(RunInfo())
    opened = OpenLogger(logger)
    os.close(logger._open.fileno())
    opened.log(1, {"loss": 1.0})
    with pytest.warns(ThermoclineWarning, match="The logger CSV failed .*OSError.* training goes on"):
        opened.flush()
    opened.log(2, {"loss": 1.0})
    opened.flush()
    opened.close()


def test_a_saved_predictor_stays_when_its_successor_cannot_be_written(tmp_path, monkeypatch):
    predictor = fit(tmp_path / "run")
    before = {one.name: one.read_bytes() for one in (tmp_path / "run").iterdir()}
    monkeypatch.setattr(shutil, "copyfile", None)
    monkeypatch.setattr(artifact, "save_model", full())
    message = told(OutputWriteError, OSError, predictor.save)
    assert "Free space and save again, predictor.save()" in message
    assert {one.name: one.read_bytes() for one in (tmp_path / "run").iterdir()} == before
