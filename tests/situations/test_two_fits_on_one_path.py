"""A second fit or save on a path that is being written to is refused before training, and harms nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager

import pytest

from support.tiny import TINY, make_table, told
from thermocline import Predictor
from thermocline.errors import OutputInUseError
from thermocline.pipeline import folder_lock
from thermocline.pipeline.folder_lock import lock_file, locked
from thermocline.training.trainer import Trainer

HOLD = """
import os, sys, time
from pathlib import Path
from thermocline.pipeline.folder_lock import locked
with locked(Path(sys.argv[1])):
    if len(sys.argv) > 2:
        worker = os.fork()
        os.write(1, f"{worker or 'worker'}\\n".encode())
    else:
        print("locked", flush=True)
    time.sleep(60)
"""


def fit(path, **more) -> Predictor:
    options = {**TINY, "optim.max_epochs": 1, "env.checkpoint_every": 1}
    return Predictor("y", path=path, verbosity=0).fit(make_table(40), hyperparameters=options, **more)


def in_use(act) -> str:
    return told(OutputInUseError, BlockingIOError, act)


@contextmanager
def held(path, *more):
    """Another process that holds the lock."""
    other = subprocess.Popen([sys.executable, "-c", HOLD, str(path), *more], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout is not None
        yield other, [other.stdout.readline().strip() for _ in range(1 + len(more))]
    finally:
        other.kill()
        other.communicate()


@pytest.mark.parametrize("resume", [False, True])
def test_the_second_is_refused_and_the_first_ends(tmp_path, monkeypatch, resume, fitted_table):
    real, messages = Trainer.fit, []

    def meanwhile(self):
        with monkeypatch.context() as patch:
            patch.setattr(Trainer, "fit", lambda self: pytest.fail("it was trained"))
            (tmp_path / "link").symlink_to(tmp_path, target_is_directory=True)
            for path in (tmp_path / "run", tmp_path / "link" / "run", tmp_path / "x" / ".." / "run"):
                messages.append(in_use(lambda path=path: fit(path, resume=resume, overwrite=True)))
            messages.append(in_use(lambda: fitted_table.save(tmp_path / "run")))
        return real(self)

    monkeypatch.setattr(Trainer, "fit", meanwhile)
    first = fit(tmp_path / "run", resume=resume)
    assert len(messages) == 4
    for message in messages:
        assert f"is being written to by process {os.getpid()} on " in message
        assert "choose another path" in message
    assert Predictor.load(tmp_path / "run", verbosity=0).predict(make_table(5)).equals(first.predict(make_table(5)))
    assert sorted(one.name for one in tmp_path.iterdir()) == ["link", "run"]


def test_a_fit_of_another_process(tmp_path):
    with held(tmp_path / "a" / "run") as (other, _):
        assert f"process {other.pid} on " in in_use(lambda: fit(tmp_path / "a" / "run"))
        assert "process " in in_use(lambda: fit(tmp_path / "a" / "run"))  # the first refusal changed nothing
        fit(tmp_path / "a" / "another")
        other.kill()
        other.wait()
        fit(tmp_path / "a" / "run")
    assert sorted(one.name for one in (tmp_path / "a").iterdir()) == ["another", "run"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_workers_that_outlive_a_killed_fit_do_not_hold_its_lock(tmp_path):
    with held(tmp_path / "run", "fork") as (other, said):
        worker = next(int(word) for word in said if word.isdigit())
        in_use(lambda: fit(tmp_path / "run"))
        other.kill()
        other.wait()
        try:
            os.kill(worker, 0)  # it is still there
            with locked(tmp_path / "run"):
                pass
        finally:
            os.kill(worker, signal.SIGKILL)


def test_a_fit_that_fails_leaves_neither_lock_nor_folders(tmp_path):
    def fails():
        with locked(tmp_path / "a" / "b" / "run"):
            raise RuntimeError("stopped")

    with pytest.raises(RuntimeError):
        fails()
    assert list(tmp_path.iterdir()) == []


def test_never_two_at_once(tmp_path):
    """Also where the file is removed by one while another opens it."""
    inside, most, entered = [0], [0], [0]

    def worker():
        for _ in range(300):
            try:
                with locked(tmp_path / "a" / "run"):
                    inside[0] += 1
                    most[0], entered[0] = max(most[0], inside[0]), entered[0] + 1
                    inside[0] -= 1
            except OutputInUseError:
                pass

    threads = [threading.Thread(target=worker) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most[0] == 1
    assert entered[0] > 50
    assert not lock_file(tmp_path / "a" / "run").exists()
    assert not folder_lock._held


def test_a_file_system_without_locks_is_said(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(folder_lock.fcntl, "flock", refuse)
    with pytest.warns(match="locks no files"), locked(tmp_path / "run"):
        assert lock_file(tmp_path / "run").is_file()
    assert list(tmp_path.iterdir()) == []
