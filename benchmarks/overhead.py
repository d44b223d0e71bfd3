"""What our step costs beside a plain PyTorch loop over the same model and batches, what a checkpoint costs, and what
importing costs beside pandas.

    python benchmarks/overhead.py [--rounds 12] [--steps 6] [--layers 18] [--schedule-plan "lisa(every=6)"]

With `--layers` the text backbone is a narrow one of so many layers, at random: a plan of twice as many optimizer
groups beside a step that is short. With `--schedule-plan` the plan has phases; what is frozen in the first step of a
run of ours is frozen in the whole of the bare one, so phases should change every `--steps`. Both loops run
alternately in one process on equal models and equal batches (batch making included in both), with the same optimizer,
clipping and loss. Imports are timed as whole processes, alternately. Prints the ratios; writes
`benchmarks/results/overhead.json`.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from thermocline import load_sample
from thermocline.contracts.request import Request
from thermocline.data.moving import to_device
from thermocline.data.order import epoch_order
from thermocline.pipeline.ready import ready
from thermocline.training import checkpoint_content
from thermocline.training.checkpoint_store import CheckpointStore
from thermocline.training.run import Run, Storage
from thermocline.training.trainer import Trainer
from thermocline.tuning.apply import LRSetter


def main() -> None:
    """Measure both, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=12, help="pairs of runs")
    parser.add_argument("--steps", type=int, default=6, help="steps a run")
    parser.add_argument("--sample", default="docstrings", choices=["docstrings", "mixed", "digits"])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "overhead.json")
    parser.add_argument("--layers", type=int, help="layers of a narrow text backbone in place of the preset's")
    parser.add_argument("--schedule-plan", help="as optim.schedule_plan")
    arguments = parser.parse_args()
    results: dict[str, Any] = {"torch": torch.__version__, "threads": torch.get_num_threads()}
    options = {"optim.schedule_plan": arguments.schedule_plan} if arguments.schedule_plan else {}
    with tempfile.TemporaryDirectory() as folder:
        if arguments.layers:
            options |= narrow_text(Path(folder), arguments.layers)
        results |= step_ratio(arguments.sample, arguments.rounds, arguments.steps, options)
    results |= import_ratios(arguments.rounds)
    for key, value in results.items():
        print(f"{key:<34}{value}")
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def narrow_text(folder: Path, layers: int) -> dict[str, Any]:
    """Write the shape of a BERT of many layers, 192 wide; return the options that use it."""
    from transformers import BertConfig

    config = BertConfig(hidden_size=192, num_hidden_layers=layers, num_attention_heads=3, intermediate_size=768)
    config.save_pretrained(str(folder))
    return {"model.text.checkpoint": str(folder), "model.text.pretrained": False}


def make_trainer(sample: str, folder: Path, options: dict[str, Any]) -> Trainer:
    """A trainer as `fit` makes it with a path, on a sample frame with the offline preset."""
    frame = load_sample(sample, rows=800)
    label = str(frame.columns[-1])
    presets = ["medium_quality", "offline"]
    request = Request(frame, label, presets=presets, hyperparameters=options, verbosity=0)
    found, store = ready(request), CheckpointStore(folder)
    storage = Storage(store.adopt(None), store)
    return Trainer(Run(found.assembly, found.train, found.valid, found.prepared.valid, storage))


def step_ratio(sample: str, rounds: int, steps: int, options: dict[str, Any]) -> dict[str, Any]:
    """Time runs of steps of both loops in turn; the same rows for both, and the same layers frozen."""
    with tempfile.TemporaryDirectory() as folder:
        trainer = make_trainer(sample, Path(folder), options)
        trainer.total_steps = rounds * steps
        trainer.cursor = trainer.run.plan.start(rounds * steps, steps_per_epoch=trainer.steps_per_epoch)
        bare_model = copy.deepcopy(trainer.model)
        ours_optimizer = trainer.make_optimizer()
        set_rates = LRSetter(ours_optimizer, trainer.run.plan)
        names = {id(p): n for n, p in trainer.model.named_parameters()}
        bare_parameters = dict(bare_model.named_parameters())
        groups = [
            {**group, "params": [bare_parameters[names[id(p)]] for p in group["params"]]}
            for group in trainer.run.plan.parameter_groups(trainer.model)
        ]
        bare_optimizer = torch.optim.AdamW(groups, lr=1e-4, fused=True)
        orders = [
            epoch_order(len(trainer.run.train), trainer.batch_size, seed=0, epoch=e, lengths=None) for e in range(99)
        ]
        every = [(positions, e) for e, order in enumerate(orders) for positions in order][: rounds * steps]
        ours, bare = [], []
        trainer.applied.train()
        for turn in range(rounds):
            part = every[turn * steps : (turn + 1) * steps]
            jobs = [
                lambda part=part: our_steps(trainer, ours_optimizer, set_rates, part),
                lambda part=part: bare_steps(trainer, bare_model, bare_optimizer, part),
            ]
            trainer.apply_phase(
                ours_optimizer
            )  # what is frozen in the first step of a run is so in all of the bare ones
            for name, parameter in trainer.model.named_parameters():
                bare_parameters[name].requires_grad_(parameter.requires_grad)
            for module, twin in zip(trainer.model.modules(), bare_model.modules(), strict=True):
                twin.training = module.training
            seconds = [0.0, 0.0]
            for which in (0, 1) if turn % 2 == 0 else (1, 0):
                begin = time.perf_counter()
                jobs[which]()
                seconds[which] = time.perf_counter() - begin
            ours.append(seconds[0])
            bare.append(seconds[1])
        write = checkpoint_seconds(trainer, ours_optimizer)
    pairs = [a / b for a, b in zip(ours[1:], bare[1:], strict=True)]  # the first warms up
    return {
        "bare step (ms)": round(1000 * statistics.median(bare[1:]) / steps, 2),
        "our step (ms)": round(1000 * statistics.median(ours[1:]) / steps, 2),
        "ours / bare, median of pairs": round(statistics.median(pairs), 4),
        "ours / bare, min of each": round(min(ours[1:]) / min(bare[1:]), 4),
        "optimizer groups": len(ours_optimizer.param_groups),
        "phases": len(trainer.run.plan.phases),
        "a checkpoint / our step": round(write / statistics.median(ours[1:]) * steps, 2),
    }


def our_steps(trainer: Trainer, optimizer: Any, set_rates: LRSetter, part: list[Any]) -> None:
    """Our loop over these rows."""
    rows = trainer.run.train
    stream = ([rows.batch(positions, epoch)] for positions, epoch in part)
    for _ in part:
        trainer.take_step(trainer.cursor.step + 1, stream, optimizer, set_rates)
        trainer.save_checkpoint(optimizer)


def checkpoint_seconds(trainer: Trainer, optimizer: Any) -> float:
    """Time the writing of a checkpoint, the third of three."""
    for _ in range(3):
        begin = time.perf_counter()
        checkpoint_content.write(trainer, optimizer)
        seconds = time.perf_counter() - begin
    return seconds


def bare_steps(trainer: Trainer, model: Any, optimizer: Any, part: list[Any]) -> None:
    """What a careful person writes by hand."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for positions, epoch in part:
        batch = to_device(trainer.run.train.batch(positions, epoch), trainer.device)
        loss = torch.nn.functional.cross_entropy(model(batch), batch["target"])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        float(loss.detach())


def import_ratios(rounds: int) -> dict[str, Any]:
    """Time `import pandas`, `import thermocline` and `from thermocline import Predictor` as whole processes, in
    turn."""
    codes = ["import pandas", "import thermocline", "from thermocline import Predictor"]
    times: dict[str, list[float]] = {code: [] for code in codes}
    for _ in range(rounds + 1):
        for code in codes:
            begin = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True)
            times[code].append(time.perf_counter() - begin)
    base = times[codes[0]][1:]
    return {
        f"{code} / import pandas": round(
            statistics.median(a / b for a, b in zip(times[code][1:], base, strict=True)), 4
        )
        for code in codes[1:]
    }


if __name__ == "__main__":
    main()
