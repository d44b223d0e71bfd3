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
    "optim.top_k_average": "greedy_soup",
    "optim.val_check_interval": 0.5,
    "env.micro_batch_size": 5,
    "env.loggers": "csv",
}


def own_loss(outputs: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Cross-entropy to the power of 1.5."""
    del weights
    return torch.nn.functional.cross_entropy(outputs, targets, reduction="none") ** 1.5


def errors(y_true: Any, y_pred: Any) -> float:
    """The share of mistakes of "yes" as "no", and thrice that of the others, below 0."""
    return -float(((y_true == "yes") & (y_pred == "no")).mean() + 3 * ((y_true == "no") & (y_pred == "yes")).mean())


PLATEAUS = {"optim.schedule_plan": "gradual_unfreeze(every='plateau')"}

JOBS: dict[str, dict[str, Any]] = {
    "plateaus": PLATEAUS,
    "muon": {**PLATEAUS, "optim.optimizer": "muon"},
    "own": {
        **PLATEAUS,
        "optim.loss": own_loss,
        "optim.class_weights": {"yes": 3.0},
        "optim.min_delta": 0.001,
        "optim.mixup": 0.4,
    },
    "rates": {
        "optim.lr": {"stem": 0.0, "head": 3e-3, "*": 1e-2},
        "optim.parameter_rules": [{"parameters": "*.bias", "lr_scale": 2, "weight_decay": 0.1}],
        "optim.phases": [
            {"trains": "head", "epochs": 2, "schedule": "constant"},
            {"schedule": {"head": "constant", "*": "one_cycle"}, "warmup": {"head": 3}, "optimizer_state": "reset"},
        ],
    },
}
"""What each job adds to the options. `own` has a metric that is a function, too."""


def fit(path: Path, every: int, job: str) -> None:
    """The job."""
    options = {**OPTIONS, **JOBS[job], "env.checkpoint_every": every}
    made, diary = Predictor("y", eval_metric=errors if job == "own" else None, path=path, verbosity=0), Diary()
    made.fit(make_table(200), hyperparameters=options, resume=every > 0, callbacks=diary)
    if every > 0:
        path.with_name(f"{path.name}-diary.json").write_text(json.dumps(diary.lines))


def child(path: Path, job: str) -> int:
    """Fork a process that does the job; return its number."""
    number = os.fork()
    if number == 0:
        try:
            fit(path, 1, job)
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


def main(folder: Path, kills: int, job: str) -> None:
    """Fit without a stop, then with so many; print what happened."""
    torch.set_num_threads(1)
    draw = random.Random(0)
    fit(folder / "warm", 0, job)
    begin = time.monotonic()
    assert how_it_ended(child(folder / "whole", job)) == 0
    whole = time.monotonic() - begin
    steps = []
    for turn in range(kills):
        number = child(folder / "killed", job)
        before, began = newest(folder / "killed"), time.monotonic()
        while turn % 4 and newest(folder / "killed") == before and time.monotonic() - began < 30:
            time.sleep(0.001)  # every fourth is killed wherever it is, the others after they went on from there
        time.sleep(draw.uniform(0, whole / kills / 2))
        os.kill(number, signal.SIGKILL)
        assert how_it_ended(number) == -signal.SIGKILL
        steps.append(newest(folder / "killed"))
    assert how_it_ended(child(folder / "killed", job)) == 0
    sys.stdout.write(json.dumps({"steps": steps, "seconds": whole}) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
