"""A warmed process whose children fit and are killed with SIGKILL; `test_killed.py` runs it as `support.killed`.

Importing torch takes longer than the whole fit, so it is done once: every child is forked from this process, fits
with `resume=True` as a job that is run again would, and gets SIGKILL at a random moment.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

import torch

from support.diary import Diary
from support.tiny import TINY, make_table
from thermocline import Predictor

OPTIONS: dict[str, Any] = {
    **TINY,
    "optim.max_epochs": 8,
    "optim.patience": 100,
    "optim.schedule_plan": "gradual_unfreeze(every='plateau')",
    "optim.top_k_average": "greedy_soup",
    "optim.val_check_interval": 0.5,
    "env.micro_batch_size": 5,
    "env.loggers": "csv",
}


def fit(path: Path, every: int) -> None:
    """The job."""
    options = {**OPTIONS, "env.checkpoint_every": every}
    diary = Diary()
    frame = make_table(200)
    Predictor("y", path=path, verbosity=0).fit(frame, hyperparameters=options, resume=every > 0, callbacks=diary)
    if every > 0:
        path.with_name(f"{path.name}-diary.json").write_text(json.dumps(diary.lines))


def child(path: Path) -> int:
    """Fork a process that does the job; return its number."""
    number = os.fork()
    if number == 0:
        try:
            fit(path, 1)
            os._exit(0)
        except BaseException as error:
            sys.stderr.write(f"{type(error).__name__}: {error}\n")
            os._exit(1)
    return number


def how_it_ended(number: int) -> int:
    """Wait for a process; return its exit code, negative where a signal ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])


def newest(path: Path) -> int:
    """The step of the newest checkpoint that is there, -1 for none."""
    return max((int(one.name[5:]) for one in Path(f"{path}-checkpoints").glob("step-*")), default=-1)


def main(folder: Path, kills: int) -> None:
    """Fit without a stop, then with so many; print what happened."""
    torch.set_num_threads(1)
    draw = random.Random(0)
    fit(folder / "warm", 0)
    begin = time.monotonic()
    assert how_it_ended(child(folder / "whole")) == 0
    whole = time.monotonic() - begin
    steps = []
    for turn in range(kills):
        number = child(folder / "killed")
        before, began = newest(folder / "killed"), time.monotonic()
        while turn % 4 and newest(folder / "killed") == before and time.monotonic() - began < 30:
            time.sleep(0.001)  # every fourth is killed wherever it is, the others after they went on from there
        time.sleep(draw.uniform(0, whole / kills / 2))
        os.kill(number, signal.SIGKILL)
        assert how_it_ended(number) == -signal.SIGKILL
        steps.append(newest(folder / "killed"))
    assert how_it_ended(child(folder / "killed")) == 0
    sys.stdout.write(json.dumps({"steps": steps, "seconds": whole}) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
