"""What our step costs on a GPU beside a plain PyTorch loop, and how much memory frozen layers save there.

    python benchmarks/device.py [--rounds 6] [--steps 20] [--batch 64] [--models vit_base_patch16_224 resnet50]

ViT-B/16 and ResNet-50 with random weights, 224 px, bf16: images a second of our loop (batch, forward and backward pass,
clipping, AdamW, history) and of a bare one over the same images, in turn in one process; then `max_memory_allocated` of
a run in which everything trains and of one with a frozen backbone, its outputs not kept. On a machine without CUDA it
says so and ends. Prints the figures; writes `benchmarks/results/device.json`.
"""

from __future__ import annotations

import argparse
import copy
import gc
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image

from thermocline.contracts.request import Request
from thermocline.data.loading import Wanted, load_steps
from thermocline.data.moving import to_device
from thermocline.pipeline.ready import ready
from thermocline.training.run import Run, Storage
from thermocline.training.trainer import Trainer
from thermocline.tuning.apply import LRSetter

MODELS = ("vit_base_patch16_224", "resnet50")
SIDE = 224


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=6, help="pairs of runs")
    parser.add_argument("--steps", type=int, default=20, help="steps a run")
    parser.add_argument("--batch", type=int, default=64, help="images a step")
    parser.add_argument("--models", nargs="+", default=list(MODELS), help="names of timm")
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"], help="cpu: to try the script")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "device.json")
    given = parser.parse_args()
    if given.device == "cuda" and not torch.cuda.is_available():
        print(f"There is no CUDA GPU here (torch {torch.__version__}). Nothing is measured.")
        return
    name = torch.cuda.get_device_name() if given.device == "cuda" else "cpu"
    results: dict[str, Any] = {"torch": torch.__version__, "device": name, "batch": given.batch}
    with tempfile.TemporaryDirectory() as folder:
        frame = pictures(Path(folder) / "images", 4 * given.batch)
        for model in given.models:
            results[model] = measured(frame, model, given)
            for key, value in results[model].items():
                print(f"{model:<24}{key:<34}{value}")
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def pictures(folder: Path, rows: int) -> pd.DataFrame:
    """Write images of noise in the size that the models take: decoding is not what is measured."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    names = [str(folder / f"{row}.png") for row in range(rows)]
    for name in names:
        Image.fromarray(rng.integers(0, 255, (SIDE, SIDE, 3), dtype=np.uint8)).save(name, compress_level=0)
    return pd.DataFrame({"img": names, "y": ["a", "b", "c", "d"] * (rows // 4)})


def trainer_of(frame: pd.DataFrame, model: str, given: Any, folder: str, **more: Any) -> Trainer:
    """A trainer as `fit` makes it; nothing augmented, dropped or kept."""
    options = {
        "model.image.checkpoint": model,
        "model.image.pretrained": False,
        "model.image.augment": "none",
        "env.batch_size": given.batch,
        "env.micro_batch_size": given.batch,
        "env.device": given.device,
        "env.precision": "bf16",
        "optim.lr": 1e-4,
        "optim.max_steps": given.steps * given.rounds,
        "optim.cache_prefix": "off",
        "env.num_workers": 0,
        **more,
    }
    found = ready(Request(frame, "y", hyperparameters=options, verbosity=0))
    return Trainer(Run(found.assembly, found.train, found.valid, found.prepared.valid, Storage(Path(folder))))


def measured(frame: pd.DataFrame, model: str, given: Any) -> dict[str, Any]:
    """Images a second of both loops, and bytes with and without a frozen backbone."""
    with tempfile.TemporaryDirectory() as folder:
        out = speeds(trainer_of(frame, model, given, folder), given)
        peaks = {}
        for name, more in [("full", {}), ("frozen", {"model.image.frozen_layers": ["re:.*"]})]:
            peaks[name] = found = peak(trainer_of(frame, model, given, folder, **more), given)
            out[f"max_memory_allocated, {name} (MB)"] = None if found is None else round(found / 1e6, 1)
        full, frozen = peaks["full"], peaks["frozen"]
        if full and frozen:
            out["frozen / full"] = round(frozen / full, 4)
    return out


def speeds(trainer: Trainer, given: Any) -> dict[str, Any]:
    """Images a second of our loop and of a bare one, on batches that are made before."""
    batches = batches_of(trainer, given)
    bare_model = copy.deepcopy(trainer.model)
    optimizer = trainer.make_optimizer()
    set_rates = LRSetter(optimizer, trainer.run.plan)
    bare_optimizer = torch.optim.AdamW(bare_model.parameters(), lr=1e-4, fused=True)
    trainer.applied.train()
    bare_model.train()
    images: dict[str, list[float]] = {"ours": [], "bare": []}
    with trainer.numbers, trainer.savings.installed():
        for turn in range(given.rounds):
            for name in ("ours", "bare") if turn % 2 == 0 else ("bare", "ours"):
                begin = now(trainer.device)
                if name == "ours":
                    stream = ([batch] for batch in batches)
                    for _ in batches:
                        trainer.take_step(trainer.cursor.step + 1, stream, optimizer, set_rates)
                else:
                    bare_steps(trainer, bare_model, bare_optimizer, batches)
                images[name].append(given.steps * given.batch / (now(trainer.device) - begin))
    pairs = [
        ours / bare for ours, bare in zip(images["ours"][1:], images["bare"][1:], strict=True)
    ]  # the first warms up
    return {
        "bare (images/s)": round(statistics.median(images["bare"][1:]), 1),
        "ours (images/s)": round(statistics.median(images["ours"][1:]), 1),
        "ours / bare, median of pairs": round(statistics.median(pairs), 4),
        "ours / bare, least and most": [round(min(pairs), 4), round(max(pairs), 4)],
    }


def batches_of(trainer: Trainer, given: Any) -> list[Any]:
    """Batches of whole size, pinned where a GPU copies them from."""
    rows = len(trainer.run.train) // given.batch * given.batch
    wanted = (
        [Wanted(np.arange(start, start + given.batch) % rows, None)]
        for start in range(0, given.steps * given.batch, given.batch)
    )
    steps = load_steps(trainer.run.train, wanted, pin_memory=trainer.device.type == "cuda")
    return [part for parts in steps for part in parts]


def bare_steps(trainer: Trainer, model: Any, optimizer: Any, batches: list[Any]) -> None:
    """What a careful person writes by hand, who reads no loss."""
    parameters = list(model.parameters())
    for batch in batches:
        given = to_device(batch, trainer.device)
        with torch.autocast(trainer.device.type, torch.bfloat16):
            outputs = model(given)
        loss = torch.nn.functional.cross_entropy(outputs.float(), given["target"])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


def peak(trainer: Trainer, given: Any) -> int | None:
    """The most bytes that are allocated on the GPU in a few steps, model and optimizer included; None on a CPU."""
    batches = batches_of(trainer, given)[:3]
    optimizer = trainer.make_optimizer()
    set_rates = LRSetter(optimizer, trainer.run.plan)
    trainer.applied.train()
    gc.collect()  # trainers before this one
    if trainer.device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    stream = ([batch] for batch in batches)
    with trainer.numbers, trainer.savings.installed():
        for _ in batches:
            trainer.take_step(trainer.cursor.step + 1, stream, optimizer, set_rates)
    trainer.results.read()
    return torch.cuda.max_memory_allocated() if trainer.device.type == "cuda" else None


def now(device: torch.device) -> float:
    """Seconds, when the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


if __name__ == "__main__":
    main()
