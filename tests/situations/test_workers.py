"""Worker processes that cannot start, end, or are far too many."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from support.tiny import TINY, make_table, told
from thermocline import Predictor
from thermocline.data.batches import Rows
from thermocline.data.loading import Wanted, load
from thermocline.errors import ConfigError
from thermocline.inputs.table.rows import TableRows

SCRIPT = """
import multiprocessing, sys
import numpy as np
from thermocline.data.batches import Rows
from thermocline.data.loading import Wanted, load
from thermocline.inputs.table.rows import TableRows
if multiprocessing.get_start_method(allow_none=True) is None:
    multiprocessing.set_start_method(sys.argv[1])
table = TableRows(np.zeros((3, 1), np.float32), np.zeros((3, 1), np.float32), np.zeros((3, 0), np.int64))
list(load(Rows({"table": table}), [Wanted(np.arange(3))], num_workers=1))
"""


def rows_of(kind):
    return Rows({"table": kind(np.zeros((3, 1), np.float32), np.zeros((3, 1), np.float32), np.zeros((3, 0), np.int64))})


def message_of(kind) -> str:
    return told(ConfigError, ValueError, lambda: list(load(rows_of(kind), [Wanted(np.arange(3))], num_workers=1)))


class Killed(TableRows):
    def batch(self, rows, epoch=None):
        os.kill(os.getpid(), signal.SIGKILL)


class Failing(TableRows):
    def batch(self, rows, epoch=None):
        raise RuntimeError("of the rows themselves")


def test_a_script_without_a_main_guard(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, str(script), "spawn"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 1
    told_here = done.stderr[done.stderr.rindex("ConfigError: ") :]
    assert "env.num_workers=1, ended (RuntimeError: DataLoader worker (pid" in told_here
    assert "The start method 'spawn' runs the script again in each of them. Put what the script does" in told_here
    assert "under `if __name__ == '__main__':`, or set env.num_workers=0: the result is the same." in told_here
    assert "A worker process runs this script again" in done.stderr  # of the worker itself


def test_fit_in_a_process_that_starts(monkeypatch):
    monkeypatch.setattr(multiprocessing.current_process(), "_inheriting", True, raising=False)
    message = told(ConfigError, ValueError, lambda: Predictor("y", verbosity=0).fit(make_table(), hyperparameters=TINY))
    assert "under `if __name__ == '__main__':`" in message


def test_a_worker_that_is_killed():
    message = message_of(Killed)
    assert "env.num_workers=1, ended (RuntimeError: DataLoader worker" in message
    assert "shared memory (/dev/shm)" in message


def test_a_daemon_has_no_workers(monkeypatch):
    monkeypatch.setitem(multiprocessing.current_process()._config, "daemon", True)
    assert "could not be started (AssertionError: daemonic" in message_of(TableRows)


def test_errors_of_the_rows_are_their_own():
    with pytest.raises(RuntimeError, match="of the rows themselves"):
        list(load(rows_of(Failing), [Wanted(np.arange(3))], num_workers=1))


@pytest.mark.parametrize("number", [10**6, 1024, 4 * (os.cpu_count() or 1) + 17])
def test_more_than_the_machine_stands(number):
    options = {**TINY, "env.num_workers": number}
    message = told(
        ConfigError, ValueError, lambda: Predictor("y", verbosity=0).fit(make_table(), hyperparameters=options)
    )
    assert "env.num_workers" in message
    assert "at most" in message
