"""A process that searches in a study which another one shares; `test_shared_study.py` runs two of it.

Both begin at the same moment, so that they compete for every trial.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import torch

from support.tiny import TINY, make_table
from thermocline import Callback, FitState, Predictor

TRIALS = 12
OPTIONS: dict[str, Any] = {
    **TINY,
    "optim.max_epochs": 1,
    "model.trees": "off",
    "model.tfidf": "off",
    "optim.lr": "loguniform(1e-4, 1e-1)",
    "optim.warmup": "uniform(0, 0.2)",
}


class Count(Callback):
    """Counts fits that came to their end."""

    ended = 0

    def on_fit_end(self, state: FitState) -> None:
        """Count one more."""
        self.ended += 1


def wait_for(folder: Path, name: str, processes: int) -> None:
    """Wait until so many processes wait."""
    folder.mkdir(exist_ok=True)
    (folder / name).touch()
    end = time.monotonic() + 120
    while len(list(folder.iterdir())) < processes and time.monotonic() < end:
        time.sleep(0.005)


def main(folder: Path, name: str, storage: str) -> None:
    """Search, and print how many fits this process carried out, and the leaderboard."""
    torch.set_num_threads(1)
    count, frame = Count(), make_table(60)
    predictor = Predictor("y", eval_metric="log_loss", path=folder / name, verbosity=0)
    wait_for(folder / "waiting", name, 2)
    how = {"trials": TRIALS, "storage": storage}
    predictor.fit(frame, hyperparameters=OPTIONS, search=how, callbacks=[count])
    board = predictor.leaderboard()
    told = {"process": os.getpid(), "fits": count.ended, "board": board.to_dict(orient="records")}
    sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
