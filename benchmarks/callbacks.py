"""What callbacks add to a training step: microseconds and calls of Python functions a step.

    python benchmarks/callbacks.py [--rounds 15] [--steps 1000]

The model is a head of two layers on twelve numbers, the shortest step there is. Three runs take the same steps in
turn: without callbacks, with ten that override nothing, and with ten whose step hooks are empty. Each pair of
neighbours gives a difference; the median of all is told, and the difference of the shortest runs. The hooks alone are
timed as well: what the trainer calls around a step, without the step. Writes `benchmarks/results/callbacks.json`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from thermocline import Callback, FitState
from thermocline.contracts.request import Request
from thermocline.pipeline.ready import ready
from thermocline.training.calling import Calling
from thermocline.training.run import Run, Storage
from thermocline.training.trainer import Trainer
from thermocline.tuning.apply import LRSetter

CALLBACKS = 10


class Empty(Callback):
    """Overrides both hooks of a step, and does nothing."""

    def on_step_begin(self, state: FitState) -> None:
        """Do nothing."""

    def on_step_end(self, state: FitState) -> None:
        """Do nothing."""


KINDS: dict[str, Callable[[], list[Callback]]] = {
    "none": list,
    "ten that override nothing": lambda: [Callback() for _ in range(CALLBACKS)],
    "ten with empty step hooks": lambda: [Empty() for _ in range(CALLBACKS)],
}


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15, help="runs of each kind")
    parser.add_argument("--steps", type=int, default=1000, help="steps a run")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "callbacks.json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    results: dict[str, Any] = {"torch": torch.__version__, "callbacks": CALLBACKS}
    with tempfile.TemporaryDirectory() as folder:
        trainer = make_trainer(Path(folder), (arguments.rounds + 1) * len(KINDS) * arguments.steps)
        results |= step_times(trainer, arguments.rounds, arguments.steps)
        results |= hook_times(trainer, arguments.rounds, arguments.steps)
        results |= call_counts(trainer)
    for key, value in results.items():
        print(f"{key:<58}{value}")
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def make_trainer(folder: Path, steps: int) -> Trainer:
    """A trainer of a small head on numbers."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(1000, 12)), columns=[f"x{number}" for number in range(12)])
    frame["y"] = np.where(frame["x0"] + frame["x1"] > 0, "a", "b")
    options = {
        "optim.max_steps": steps,
        "optim.max_epochs": steps,
        "env.batch_size": 16,
        "env.device": "cpu",
        "model.table.width": 16,
        "model.table.blocks": 1,
        "model.fusion.width": 16,
        "model.frozen_layers": ["stem", "block"],
    }
    found = ready(Request(frame, "y", hyperparameters=options, verbosity=0))
    return Trainer(Run(found.assembly, found.train, found.valid, found.prepared.valid, Storage(folder)))


def step_times(trainer: Trainer, rounds: int, steps: int) -> dict[str, Any]:
    """Time runs of steps with each kind of callbacks in turn."""
    optimizer = trainer.make_optimizer()
    set_rates = LRSetter(optimizer, trainer.run.plan)
    batch = [trainer.run.train.batch(np.arange(16), 0)]
    stream = iter(lambda: batch, None)
    trainer.applied.train()
    times: dict[str, list[float]] = {name: [] for name in KINDS}
    for turn in range(rounds + 1):
        names = list(KINDS) if turn % 2 else list(reversed(KINDS))
        for name in names:
            trainer.calling = Calling(KINDS[name]())
            begin = time.perf_counter()
            for _ in range(steps):
                trainer.take_step(trainer.cursor.step + 1, stream, optimizer, set_rates)
            times[name].append((time.perf_counter() - begin) / steps * 1e6)
            trainer.results.losses.clear()
    times = {name: seconds[1:] for name, seconds in times.items()}  # the first warms up
    found: dict[str, Any] = {"a step without callbacks (µs, median)": round(statistics.median(times["none"]), 1)}
    for name in list(KINDS)[1:]:
        pairs = [one - none for one, none in zip(times[name], times["none"], strict=True)]
        found[f"{name}: more a step (µs, median of pairs)"] = round(statistics.median(pairs), 2)
        found[f"{name}: more a step (µs, shortest runs)"] = round(min(times[name]) - min(times["none"]), 2)
    return found


def hook_times(trainer: Trainer, rounds: int, steps: int) -> dict[str, Any]:
    """Time what the trainer calls around a step, alone."""
    found = {}
    for name, make in KINDS.items():
        calling, cursor = Calling(make()), trainer.cursor
        calling.step_begins(trainer)
        each = []
        for _ in range(rounds):
            begin = time.perf_counter()
            for _ in range(steps):
                calling.step_begins(trainer)
                calling.step_ends(trainer, cursor)
            each.append((time.perf_counter() - begin) / steps * 1e6)
        found[f"{name}: the hooks of a step alone (µs, median)"] = round(statistics.median(each), 2)
        found[f"{name}: the hooks of a step alone (µs, shortest)"] = round(min(each), 2)
    return found


def call_counts(trainer: Trainer) -> dict[str, Any]:
    """Count the Python functions that are called around a step."""
    found = {}
    for name, make in KINDS.items():
        calling, calls = Calling(make()), [0]
        calling.step_begins(trainer)

        def count(_frame: Any, event: str, _argument: Any, calls: list[int] = calls) -> None:
            calls[0] += event == "call"

        sys.setprofile(count)
        calling.step_begins(trainer)
        calling.step_ends(trainer, trainer.cursor)
        sys.setprofile(None)
        found[f"{name}: Python calls a step"] = calls[0]
    return found


if __name__ == "__main__":
    main()
