"""Is the forecast of a run right? Live bytes against an account of a real step, and seconds against a real epoch.

    python benchmarks/estimate.py [--only bytes seconds] [--models resnet50 rt_detr] [--seconds-models …]

- bytes: eight models with random weights × {full, frozen backbone, half frozen, checkpointed} × {fp32, bf16}. The
  forecast is that of `explain`. Beside it stand the same step taken for real under `StorageCount` (every storage that
  operators make, from its birth to its death: the deterministic account), the peak of what torch's own CPU allocator
  handed out meanwhile (`torch.profiler`; scratch memory of kernels included), and the growth of the process's peak
  resident memory beside the bound "needed to run". Also the seconds that the forecast took after the model was built.
- seconds: what `explain(timed=True)` tells of an epoch against one that is trained, three times in turn on three
  models; in CPU seconds of one thread, since a machine may be shared.

Prints a table; writes `benchmarks/results/estimate.json`; sections that are not run keep what they said before.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil  # type: ignore[import-untyped]
import torch
from PIL import Image
from torch.profiler import ProfilerActivity, profile
from transformers import CONFIG_MAPPING

from thermocline.contracts.problem import Assembly
from thermocline.contracts.request import Request
from thermocline.efficiency.costs.live_bytes import LiveBytes, beyond_base
from thermocline.efficiency.costs.live_counter import CountedRun
from thermocline.efficiency.costs.storage_count import StorageCount
from thermocline.inputs.text.tokenizer import fit_vocabulary, train_tokenizer
from thermocline.pipeline.ready import ready
from thermocline.training.live_source import counted_of
from thermocline.training.run import Run, Storage
from thermocline.training.run_savings import aligned_rows, forecast_of, savings_of
from thermocline.training.timing import time_steps
from thermocline.training.trainer import Trainer
from thermocline.tuning.layers.meta_dispatch import tensors_in

OUT = Path(__file__).parent / "results" / "estimate.json"
WITHIN_BYTES, WITHIN_SECONDS, MOST_SECONDS = 0.02, 0.15, 5.0
STATES = ("full", "frozen backbone", "half frozen", "checkpointed")
#: Of the text models: the type, and the settings of the published model.
TEXTS: dict[str, tuple[str, dict[str, Any]]] = {
    "MiniLM": (
        "bert",
        {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536},
    ),
    "deberta-v3-small": (
        "deberta-v2",
        {
            "hidden_size": 768,
            "num_hidden_layers": 6,
            "num_attention_heads": 12,
            "intermediate_size": 3072,
            "vocab_size": 128100,
            "max_position_embeddings": 512,
            "type_vocab_size": 0,
            "relative_attention": True,
            "max_relative_positions": -1,
            "position_buckets": 256,
            "norm_rel_ebd": "layer_norm",
            "share_att_key": True,
            "pos_att_type": ["p2c", "c2p"],
            "position_biased_input": False,
        },
    ),
    "distilbert": ("distilbert", {}),
}
IMAGES = {
    "resnet50": "resnet50",
    "mobilenetv3": "mobilenetv3_large_100",
    "vit_small": "vit_small_patch16_224",
    "convnext_tiny": "convnext_tiny",
}
DETECTOR = "PekingU/rtdetr_r50vd"
NAMES = (*IMAGES, *TEXTS, "rt_detr")


@dataclass(frozen=True)
class Case:
    """What is fitted.

    Attributes:
        frame: The training frame.
        label: Its label.
        options: Hyperparameters.
        more: Other arguments of a request.
    """

    frame: pd.DataFrame
    label: str
    options: dict[str, Any]
    more: dict[str, Any]


def main() -> None:
    """Run the sections, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=["bytes", "seconds"], default=["bytes", "seconds"])
    parser.add_argument("--models", nargs="+", choices=list(NAMES), default=list(NAMES))
    parser.add_argument("--seconds-models", nargs="+", default=["resnet50", "vit_small", "MiniLM"], choices=list(NAMES))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    result = json.loads(OUT.read_text(encoding="utf-8")) if OUT.exists() else {}
    result["torch"] = torch.__version__
    with tempfile.TemporaryDirectory() as folder:
        if "bytes" in arguments.only:
            kept: dict[str, list[dict[str, Any]]] = {row["model"]: [] for row in result.get("bytes", [])}
            for row in result.get("bytes", []):
                kept[row["model"]].append(row)
            for name in arguments.models:
                kept[name] = list(bytes_of_model(name, Path(folder)))
                result["bytes"] = [row for each in NAMES for row in kept.get(each, [])]
                write(result)
            summary(result["bytes"])
        if "seconds" in arguments.only:
            result["seconds"] = [seconds_of_model(name, Path(folder)) for name in arguments.seconds_models]
            write(result)


def write(result: dict[str, Any]) -> None:
    """Write what is known so far."""
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


# -- cases


def case_of(name: str, folder: Path, *, rows: int, seed: int = 0) -> Case:
    """Return rows of noise for a model, and the options under which it has random weights and its published size."""
    base = {"env.device": "cpu", "env.loggers": [], "optim.refit": "off", "model.conv_bn": "off"}
    if name in IMAGES:
        options = {"model.image.checkpoint": IMAGES[name], "model.image.pretrained": False, "env.batch_size": 4}
        return Case(pictures(rows, seed), "y", {**base, **options, "env.micro_batch_size": 4}, {})
    if name in TEXTS:
        options = {"model.text.checkpoint": str(text_folder(name, folder)), "model.text.pretrained": False}
        own = {"env.batch_size": 8, "model.text.max_length": 128, "model.tfidf": "off"}
        return Case(sentences(rows, seed), "y", {**base, **options, **own}, {})
    options = {"model.detector.checkpoint": DETECTOR, "model.detector.pretrained": False, "model.detector.size": 640}
    del base["optim.refit"], base["model.conv_bn"]
    own = {"env.batch_size": 2, "optim.ema": None}
    more = {"problem_type": "object_detection", "presets": "detection_offline"}
    return Case(boxes(rows, seed), "y", {**base, **options, **own}, more)


def pictures(rows: int, seed: int) -> pd.DataFrame:
    """Images of noise, 224 pixels a side, in two classes."""
    rng = np.random.default_rng(seed)
    cells = [Image.fromarray(rng.integers(0, 255, (224, 224, 3), dtype=np.uint8)) for _ in range(rows)]
    return pd.DataFrame({"image": cells, "y": ["a", "b"] * (rows // 2)})


def sentences(rows: int, seed: int) -> pd.DataFrame:
    """Texts of 40 to 200 words in two classes."""
    rng = np.random.default_rng(seed)
    words = [f"word{number}" for number in range(300)]
    texts = [" ".join(rng.choice(words, rng.integers(40, 200))) for _ in range(rows)]
    return pd.DataFrame({"text": texts, "y": ["a", "b"] * (rows // 2)})


def boxes(rows: int, seed: int) -> pd.DataFrame:
    """Images of noise with eight boxes each."""
    rng = np.random.default_rng(seed)
    cells, found = [], []
    for _ in range(rows):
        cells.append(Image.fromarray(rng.integers(0, 255, (480, 640, 3), dtype=np.uint8)))
        corners = rng.integers(0, 300, (8, 2))
        found.append([[int(x), int(y), int(x) + 120, int(y) + 90, f"kind {n % 5}"] for n, (x, y) in enumerate(corners)])
    return pd.DataFrame({"image": cells, "y": found})


def text_folder(name: str, folder: Path) -> Path:
    """Write the settings of a text model with a tokenizer of our words; there are no weights."""
    target = folder / name
    if target.exists():
        return target
    kind, settings = TEXTS[name]
    tokenizer = train_tokenizer([f"word{number}" for number in range(300)] * 4, most=600)
    tokenizer.model_max_length = 512
    config = CONFIG_MAPPING[kind](**settings)
    size = config.vocab_size
    fit_vocabulary(config, tokenizer)
    config.vocab_size = size
    config.save_pretrained(target)
    tokenizer.save_pretrained(target)
    return target


def run_of(case: Case, options: dict[str, Any], folder: Path) -> Run:
    """Build the model of a case and what trains it."""
    request = Request(
        case.frame, case.label, tuning_data=case.frame, hyperparameters=case.options | options, verbosity=0, **case.more
    )
    found = ready(request)
    return Run(found.assembly, found.train, found.valid, found.prepared.valid, Storage(folder), seed=0)


# -- bytes


def bytes_of_model(name: str, folder: Path) -> Iterator[dict[str, Any]]:
    """Yield a row for each state and precision of a model."""
    case = case_of(name, folder, rows=8)
    for state in STATES:
        for precision in ("fp32", "bf16"):
            yield bytes_of_state(name, case, (state, precision), folder)
            gc.collect()


def bytes_of_state(name: str, case: Case, which: tuple[str, str], folder: Path) -> dict[str, Any]:
    """Forecast the bytes of a step, take it, and print both."""
    state, precision = which
    run = run_of(case, {"env.precision": precision, **state_options(state, case, folder)}, folder)
    begin, cpu = time.perf_counter(), time.process_time()
    counted = counted_run(run)
    live = counted.live(run.plan.timeline.ever)
    took, cpu = time.perf_counter() - begin, time.process_time() - cpu
    assert live is not None, (name, state)
    real = real_step(run, counted)
    row = {
        "model": name,
        "state": state,
        "precision": precision,
        "rows": counted.setup.rows,
        "forecast": live.training,
        "counted": real["counted"],
        "error": live.training / real["counted"] - 1,
        "allocator": real["allocator"],
        "over allocator": live.training / real["allocator"] - 1,
        "validation": live.lasting + live.validation,
        "validation counted": real["validation"],
        "validation error": (live.lasting + live.validation) / real["validation"] - 1,
        "needed": beyond_base(live, "cpu"),
        "resident": real["resident"],
        "seconds": took,
        "cpu seconds": cpu,
        "parts": parts_of(live),
    }
    print(line(row), flush=True)
    return row


def state_options(state: str, case: Case, folder: Path) -> dict[str, Any]:
    """Return the options of a state."""
    if state == "frozen backbone":
        return {"model.frozen_layers": "backbone"}
    if state == "checkpointed":
        return {"model.checkpointing": "all"}
    if state == "half frozen":
        layers = run_of(case, {}, folder).layer_map
        blocks = [layer for layer in layers if layer.role in ("stem", "block")]
        return {"model.frozen_layers": max(len(blocks) // 2, 1)}
    return {}


def counted_run(run: Run) -> CountedRun:
    """Return what counts the live bytes of a run, as a forecast makes it."""
    rows = {"train": aligned_rows(run.train, run.layer_map, run.plan), "valid": run.valid}
    objective = run.assembly.problem.learning(run.assembly, run.train, seed=0).objective
    return counted_of(run.assembly, rows, savings_of(run.with_rows(rows["train"]), nullcontext), objective)


def parts_of(live: LiveBytes) -> dict[str, int]:
    """What the bytes consist of."""
    names = ("parameters", "buffers", "optimizer", "averages", "gradients", "activations", "temporaries", "validation")
    return {name: getattr(live, name) for name in names}


def real_step(run: Run, counted: CountedRun) -> dict[str, int]:
    """Take three real steps on the CPU: counted, watched by the allocator's profile, and by the peak of the process."""
    trainer = Trainer(run)
    with trainer.numbers, trainer.savings.installed():
        optimizer = trainer.make_optimizer()
        trainer.applied.train()
        if trainer.savings.checkpoints is not None:
            trainer.savings.checkpoints.update(run.plan.timeline.ever)
        batch = counted.counter.source.train(counted.setup.rows)
        step = step_of(trainer, optimizer, [batch])
        given = sum(one.untyped_storage().nbytes() for one in tensors_in(batch))
        base = resident_now() - lasting_bytes(run.assembly)
        reset_peak()
        step()
        step()
        resident = peak_resident() - base
        state = [value for one in optimizer.state.values() for value in one.values()]
        lasting = lasting_bytes(run.assembly) + sum(t.untyped_storage().nbytes() for t in state)
        with counting(run.assembly, state, batch) as count:
            step()
        allocator = allocated_peak(step) + lasting + given
        run.model.eval()
        valid = counted.counter.source.valid(counted.valid_rows)
        with counting(run.assembly, state, valid) as passed, torch.inference_mode(), trainer.precision.autocast():
            run.model(valid)
    return {
        "counted": int(count.storages().curve().max()) + lasting,
        "validation": int(passed.storages().curve().max()) + lasting,
        "allocator": allocator,
        "resident": resident,
    }


def step_of(trainer: Trainer, optimizer: Any, parts: list[Any]) -> Callable[[], None]:
    """Return what takes a training step as the trainer does."""

    def step() -> None:
        trainer.stepper.seed(1)
        trainer.stepper.gradients(parts, 0, cached=False)
        trainer.stepper.clip(optimizer, trainer.trainable)
        trainer.stepper.update(optimizer)
        optimizer.zero_grad(set_to_none=True)

    return step


def counting(assembly: Assembly, state: list[torch.Tensor], batch: Any) -> StorageCount:
    """Return a count in which model and optimizer are left out, and the batch is there from the start."""
    count = StorageCount()
    count.ignore([*assembly.model.parameters(), *assembly.model.buffers(), *state])
    count.hold(tensors_in(batch))
    return count


def lasting_bytes(assembly: Assembly) -> int:
    """Return the bytes of parameters and buffers."""
    return sum(one.untyped_storage().nbytes() for one in (*assembly.model.parameters(), *assembly.model.buffers()))


def allocated_peak(step: Callable[[], None]) -> int:
    """Return the most that torch's CPU allocator had handed out during a step, above what it had before."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
        step()
    events: list[tuple[int, int]] = []

    def visit(nodes: Any) -> None:
        for node in nodes:
            if node.name == "[memory]":
                events.append((node.start_time_ns, node.extra_fields.alloc_size))
            visit(node.children)

    visit(found.profiler.kineto_results.experimental_event_tree())
    sizes = np.array([size for _, size in sorted(events, key=lambda one: one[0])], dtype=np.int64)
    return int(max(sizes.cumsum().max(), 0)) if len(sizes) else 0


def reset_peak() -> None:
    """Set the peak of the process's resident memory to what it is now."""
    Path("/proc/self/clear_refs").write_text("5")


def resident_now() -> int:
    """Return the resident memory of the process in bytes, after what was freed has been given back."""
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    return int(psutil.Process().memory_info().rss)


def peak_resident() -> int:
    """Return the peak of the process's resident memory in bytes."""
    status = Path("/proc/self/status").read_text()
    return next(int(row.split()[1]) * 1024 for row in status.splitlines() if row.startswith("VmHWM"))


def line(row: dict[str, Any]) -> str:
    """One line of the table."""
    name = f"{row['model']}, {row['state']}, {row['precision']}"
    return (
        f"{name:<40} forecast {row['forecast'] / 1e6:8.1f} counted {row['counted'] / 1e6:8.1f} MB "
        f"{row['error']:+.2%}; validation {row['validation error']:+.2%}; allocator {row['over allocator']:+.1%}; "
        f"needed {row['needed'] / 1e6:7.0f}, resident {row['resident'] / 1e6:7.0f} MB; "
        f"{row['seconds']:.1f} s ({row['cpu seconds']:.1f} of CPU)"
    )


def summary(rows: list[dict[str, Any]]) -> None:
    """Print how many are within bounds."""
    for key in ("error", "validation error"):
        within = sum(abs(row[key]) <= WITHIN_BYTES for row in rows)
        print(f"{key}: {within} of {len(rows)} within {WITHIN_BYTES:.0%}, worst {max(abs(r[key]) for r in rows):.2%}")
    quick = sum(row["seconds"] <= MOST_SECONDS for row in rows)
    print(
        f"{quick} of {len(rows)} forecasts in {MOST_SECONDS:g} s, the longest {max(r['seconds'] for r in rows):.1f} s"
    )
    bound = sum(row["resident"] <= row["needed"] for row in rows)
    print(f"the process stayed within `needed to run` in {bound} of {len(rows)}")


# -- seconds


def seconds_of_model(name: str, folder: Path) -> dict[str, Any]:
    """Forecast the seconds of an epoch with its validation, take it, and print both."""
    case = case_of(name, folder, rows=32 if name in IMAGES else 96)
    options = {"optim.max_epochs": 1, "optim.patience": 99, "model.trees": "off", "env.cache_images": "off"}
    run = run_of(case, options, folder / f"{name}-times")
    learning = run.assembly.problem.learning(run.assembly, run.train, seed=0)
    rows = {"train": run.train, "valid": run.valid}
    ratios, found = [], []
    for _ in range(3):
        times = time_steps(run, clock=time.process_time)
        estimate = forecast_of(run.assembly, rows, learning, times).estimate
        forecast = estimate.phases[0].seconds or 0.0
        measured = epoch_seconds(run)
        ratios.append(forecast / measured)
        found.append((forecast, measured))
    error = statistics.median(ratios) - 1
    row = {"model": name, "rounds": found, "ratios": ratios, "error": error, "steps": estimate.phases[0].steps}
    verdict = "met" if abs(error) <= WITHIN_SECONDS else "NOT MET"
    each = ", ".join(f"{a:.1f}/{b:.1f}" for a, b in found)
    print(f"{name:<16} an epoch, forecast/measured s: {each}; median error {error:+.1%} {verdict}", flush=True)
    return row


def epoch_seconds(run: Run) -> float:
    """Train an epoch and return the CPU seconds of its steps, their batches included."""
    trainer = Trainer(run)
    with trainer.numbers, trainer.savings.installed():
        optimizer = trainer.make_optimizer()
        trainer.applied.train()
        batches = trainer._training_batches(0)
        begin = time.process_time()
        for step in range(1, trainer.total_steps + 1):
            trainer.step(step, batches, optimizer)
        return time.process_time() - begin


if __name__ == "__main__":
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    main()
