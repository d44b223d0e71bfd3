"""What frozen layers cost: the time, the bits and the state of runs in which part of a backbone never trains.

    OMP_NUM_THREADS=1 python benchmarks/frozen.py [--only whole part bits norms state head] [--rounds 3] [--rows 400]

Sections (each a function that prints a table and returns what goes into the JSON):

- whole: CPU seconds of five epochs with the prefix cache over those without it, the whole backbone frozen;
- part: the same with all but the last stage (resnet18) or the last two blocks (transformers) frozen;
- bits: training losses of every step, validation scores and final weights with the cache beside those without it;
- norms: buffers of frozen BatchNorms that training changed, beside a loop that only sets `requires_grad`;
- state: elements of optimizer state beside trainable parameters;
- head: what a step of ours on cached features takes beyond a bare fused one, in microseconds, and what accelerate's
  wrappers take beyond the same.

All runs are fits by `Predictor` on one torch thread. What is timed is `Trainer.fit`: filling the cache, the probe where
there is one, training, validating a tenth of the rows before the first epoch and after each, and choosing the best
state. Imports, processors and model are made outside of it; so are decoded images, which both sides keep. Runs
with and without the cache alternate, and ratios are taken pair by pair. Image backbones have random weights in a
local folder, loaded as pretrained ones (sample digits at 64 px); the text backbone is MiniLM on sentences of random
words. Batches are as large as the program makes them for so few rows (8) where time is taken. Before the cache
serves, some batches run to see that it may: the more batches an epoch has, the lower the ratio.

Writes `benchmarks/results/frozen.json`; sections that are not run keep what they said before.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import timm
import torch
from torch import nn
from torch.nn import functional as F

from thermocline import Predictor, load_sample
from thermocline.efficiency.prefix_cache.cached_tower import WHOLE
from thermocline.pipeline import fit as fitting
from thermocline.training.run import Run
from thermocline.training.trainer import Trainer
from thermocline.tuning.verify import tensors_hash

MODELS = {"resnet18": "resnet18", "vit_tiny": "vit_tiny_patch16_224", "minilm": "offline:minilm-l6"}
SIDES = {"resnet18": 128, "vit_tiny": 64}  # pixels; at 64 a ResNet's last stage has 2 by 2 of them, and is all weights
EPOCHS = 5
BATCH = 32  # where no time of whole runs is taken: from 16 rows convolutions are joined with their norms
DEPTHS: dict[str, Any] = {"whole": "backbone", "part": -2}  # resnet18's last stage has two blocks
BLOCK = 100  # steps of one kind in a row
WARM = 5  # steps of a block that are not counted
CLIP = 1.0
WORDS = (
    "the a of and to in is that it was for on with as this film story actor scene music but not very some more time "
    "people little work long after never again house city night water light about which every small through"
)
TELLING = ("bad dull slow poor weak cold", "good fresh bright warm fine great")  # for the first class, the second


class Watched(Trainer):
    """A trainer that shows itself, its optimizer, its losses to the last bit, and its CPU seconds."""

    last: Watched
    cpu: float
    optimizer: torch.optim.Optimizer
    before: dict[str, torch.Tensor]

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        Watched.last = self
        self.hexes: list[str] = []
        self.before = {name: value.clone() for name, value in self.model.named_buffers()}

    def fit(self) -> Any:
        begin = time.process_time()
        history = super().fit()
        self.cpu = time.process_time() - begin
        return history

    def make_optimizer(self) -> Any:
        self.optimizer = super().make_optimizer()
        return self.optimizer

    def step(self, *arguments: Any) -> None:
        super().step(*arguments)
        self.hexes.append(self.results.losses[-1].hex())


@dataclass(frozen=True)
class Setting:
    """Where models lie, how many rows there are, and how often is measured."""

    folder: Path
    rows: int
    rounds: int
    steps: int


def main() -> None:
    """Run the sections, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(SECTIONS), default=list(SECTIONS))
    parser.add_argument("--rounds", type=int, default=2, help="pairs of timed runs")
    parser.add_argument("--rows", type=int, default=320, help="a tenth of them for validation")
    parser.add_argument("--steps", type=int, default=2000, help="steps of each kind in section head")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "frozen.json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    fitting.Trainer = Watched  # type: ignore[attr-defined]
    results: dict[str, Any] = json.loads(arguments.out.read_text("utf-8")) if arguments.out.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        setting = Setting(Path(folder), arguments.rows, arguments.rounds, arguments.steps)
        for name in arguments.only:
            print(f"\n{name}: {SECTIONS[name].__doc__}")
            results[name] = {"torch": torch.__version__, **SECTIONS[name](setting)}
            arguments.out.parent.mkdir(parents=True, exist_ok=True)
            arguments.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def show(rows: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    """Print rows as a table; return them for the JSON, with what else is to be told."""
    print(pd.DataFrame(rows).to_string(index=False))
    return {"rows": rows, **more}


# runs


def checkpoint(name: str, folder: Path) -> str:
    """Return a checkpoint; a timm model is written with random weights, once."""
    if name.startswith("offline:"):
        return name
    if not (folder / name).is_dir():
        torch.manual_seed(0)
        timm.models.save_for_hf(timm.create_model(name, num_classes=10), str(folder / name))
    return str(folder / name)


def sentences(rows: int) -> pd.DataFrame:
    """Make texts of two classes: some twenty words each (lognormal), one of them in six told by the class."""
    rng = np.random.default_rng(0)
    labels = rng.integers(2, size=rows)
    lengths = np.clip(rng.lognormal(2.85, 0.5, rows).astype(int), 4, 60)
    texts = []
    for label, length in zip(labels, lengths, strict=True):
        told = rng.random(length) < 1 / 6
        texts.append(
            " ".join(np.where(told, rng.choice(TELLING[label].split(), length), rng.choice(WORDS.split(), length)))
        )
    return pd.DataFrame({"text": texts, "label": np.where(labels == 1, "b", "a")})


def run(model: str, setting: Setting, *, frozen: Any, rows: int = 0, seed: int = 1, **options: Any) -> Watched:
    """Fit a model with its first layers frozen, and return the trainer.

    Args:
        model: A key of `MODELS`, or a timm model.
        setting: Where it lies.
        frozen: As `model.frozen_layers`.
        rows: Other than the setting's.
        seed: Of the run.
        options: Overrides, with `__` for dots.
    """
    name = MODELS.get(model, model)
    tower = "text" if name.startswith("offline:") else "image"
    frame = (sentences if tower == "text" else lambda n: load_sample("digits", rows=n))(rows or setting.rows)
    overrides = {
        f"model.{tower}.checkpoint": checkpoint(name, setting.folder),
        f"model.{tower}.pretrained": True,
        f"model.{tower}.frozen_layers": frozen,
        "optim.max_epochs": EPOCHS,
        "optim.head_init": "random",
        "data.valid_fraction": 0.1,
        "env.device": "cpu",
        "env.precision": "fp32",
    }
    if tower == "image":
        overrides |= {"model.image.size": SIDES.get(model, 64), "model.image.augment": "none"}
    overrides |= {key.replace("__", "."): value for key, value in options.items()}
    Predictor("label", verbosity=0).fit(frame, hyperparameters=overrides, seed=seed)
    return Watched.last


def notes(trainer: Watched) -> str:
    """Return what the history says of the cache."""
    return "; ".join(row["note"] for row in trainer.record.rows if "run once a row" in str(row.get("note")))


def scores(trainer: Watched) -> list[str]:
    """Return the validation scores to the last bit, with the training losses beside them."""
    values = trainer.record.history().to_frame().select_dtypes("number").drop(columns=["seconds"], errors="ignore")
    return [
        float(value).hex()
        for column in values
        if str(column).startswith(("val_", "train_"))
        for value in values[column]
    ]


def weights_hash(model: nn.Module) -> str:
    """Return a hash over a model's parameters and buffers."""
    return tensors_hash(list(model.state_dict().items()))


def same(one: Watched, other: Watched) -> dict[str, Any]:
    """Compare two runs bit by bit."""
    pairs = list(zip(one.hexes, other.hexes, strict=True))
    return {
        "equal losses": f"{sum(a == b for a, b in pairs)} of {len(pairs)}",
        "scores equal": scores(one) == scores(other),
        "weights equal": weights_hash(one.model) == weights_hash(other.model),
    }


# time


def cached_time(setting: Setting, depth: str) -> dict[str, Any]:
    """Time runs with and without the cache in turn, for all models."""
    rows = []
    for model in MODELS:
        for start in ("random", "probe") if depth == "whole" else ("random",):
            pairs = []
            for turn in range(setting.rounds):
                seconds = {}
                for mode in ("auto", "off") if turn % 2 else ("off", "auto"):
                    trainer = run(
                        model, setting, frozen=DEPTHS[depth], optim__cache_prefix=mode, optim__head_init=start
                    )
                    seconds[mode] = trainer.cpu
                    if bool(notes(trainer)) != (mode == "auto"):
                        raise SystemExit(f"{model}, cache_prefix={mode}: {trainer.record.rows}")
                pairs.append((seconds["auto"], seconds["off"]))
            cached, plain = (statistics.median(side) for side in zip(*pairs, strict=True))
            ratios = sorted(a / b for a, b in pairs)
            rows.append(
                {
                    "model": model,
                    "head": start,
                    "batch": trainer.batch_size,
                    "plain (s)": round(plain, 2),
                    "cached (s)": round(cached, 2),
                    "cached / plain": round(statistics.median(ratios), 3),
                    "least": round(ratios[0], 3),
                    "most": round(ratios[-1], 3),
                }
            )
    train = setting.rows - round(setting.rows / 10)
    return show(rows, rounds=setting.rounds, training_rows=train, epochs=EPOCHS)


def whole(setting: Setting) -> dict[str, Any]:
    """CPU seconds of five epochs, the whole backbone frozen, with the cache over without."""
    return cached_time(setting, "whole")


def part(setting: Setting) -> dict[str, Any]:
    """CPU seconds of five epochs, all but the last stage or two blocks frozen, with the cache over without."""
    return cached_time(setting, "part")


# bits


def bits(setting: Setting) -> dict[str, Any]:
    """Losses of every step, scores and final weights of three epochs, with the cache and without, fp32."""
    cases: list[tuple[str, str, dict[str, Any]]] = [(model, depth, {}) for model in MODELS for depth in DEPTHS]
    cases += [("minilm", "part", {"optim__cache_prefix": "disk"})]
    cases += [("resnet18", "part", {"model__image__augment": "light", "model__image__augment_views": 2})]
    cases += [("vit_tiny", "whole", {"optim__head_init": "probe"})]
    rows = []
    for model, depth, options in cases:
        shared = {"rows": 150, "env__batch_size": BATCH, "optim__max_epochs": 3, **options}
        cached = run(model, setting, frozen=DEPTHS[depth], **shared)
        plain = run(model, setting, frozen=DEPTHS[depth], **shared | {"optim__cache_prefix": "off"})
        told = ", ".join(f"{key.rpartition('__')[2]}={value}" for key, value in options.items())
        found = {"model": model, "frozen": depth, "options": told, "cached": bool(notes(cached))}
        rows.append(found | same(cached, plain))
    return show(rows)


# norms


def norm_buffers(model: nn.Module, inside: Iterable[str]) -> list[str]:
    """Return the names of the buffers of BatchNorms among these modules."""
    modules = dict(model.named_modules())
    norms = [name for name in inside if isinstance(modules[name], nn.modules.batchnorm._BatchNorm)]
    return [f"{name}.{key}" for name in norms for key, _ in modules[name].named_buffers(recurse=False)]


def changed(before: dict[str, torch.Tensor], model: nn.Module, names: Iterable[str]) -> str:
    """Count the buffers that are not what they were."""
    now, names = dict(model.named_buffers()), list(names)
    return f"{sum(not torch.equal(before[name], now[name]) for name in names)} of {len(names)}"


def norms(setting: Setting) -> dict[str, Any]:
    """Buffers of BatchNorms that two epochs changed: those of frozen layers, and of layers that train."""
    rows = []
    for model in ("resnet50", "resnet18"):
        for frozen in ("backbone", "stem", ["stem", "layer1.*", "layer2.*"]):
            options: dict[str, Any] = {"optim__max_epochs": 2, "model__image__batch_norm": "train"}
            trainer = run(model, setting, frozen=frozen, rows=60, **options)
            held = {name for label in trainer.run.plan.frozen for name in trainer.run.layer_map[label].modules}
            resting = norm_buffers(trainer.model, held)
            others = set(norm_buffers(trainer.model, dict(trainer.model.named_modules()))) - set(resting)
            found = {"model": model, "frozen": frozen if isinstance(frozen, str) else ", ".join(frozen)}
            found["frozen, ours"] = changed(trainer.before, trainer.model, resting)
            found["training, ours"] = changed(trainer.before, trainer.model, sorted(others))
            found["frozen, requires_grad only"] = only_requires_grad(trainer, resting)  # last: on the same model
            rows.append(found)
    return show(rows)


def only_requires_grad(trainer: Watched, names: list[str]) -> str:
    """Train the same model for an epoch where nothing but `requires_grad` says what is frozen."""
    model, rows = trainer.model, trainer.run.train
    before = {name: value.clone() for name, value in model.named_buffers()}
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)
    model.train()
    for start in range(0, len(rows), 9):
        batch = rows.batch(np.arange(start, min(start + 9, len(rows))))
        F.cross_entropy(model(batch), batch["target"]).backward()
        optimizer.step()
        optimizer.zero_grad()
    return changed(before, model, names)


# state


def state(setting: Setting) -> dict[str, Any]:
    """Elements of AdamW's moments beside the parameters that train (a step count per tensor is beside them)."""
    rows = []
    for model in MODELS:
        for frozen in ("backbone", -2, None):
            trainer = run(model, setting, frozen=frozen, rows=70, optim__max_epochs=1)
            kept = [value for values in trainer.optimizer.state.values() for value in values.values()]
            elements = sum(value.numel() for value in kept if value.dim())
            trains = [p for p in trainer.model.parameters() if p.requires_grad]
            trainable, every = sum(p.numel() for p in trains), sum(p.numel() for p in trainer.model.parameters())
            found = {"model": model, "frozen": str(frozen), "parameters": every, "trainable": trainable}
            rows.append(found | {"state": elements, "state / trainable": elements / trainable})
    return show(rows)


# head


class Interleaved(Watched):
    """A trainer whose steps take turns with those of others, a block of each; it times whole turns of its loop."""

    others: dict[str, Callable[[], None]]
    seconds: dict[str, list[list[float]]]

    def __init__(self, run: Run) -> None:
        super().__init__(replace(run, reporting=replace(run.reporting, show=self.timed)))

    def timed(self, steps: Any, _total: int, title: str) -> Iterator[int]:
        if title != "training":
            yield from steps
            return
        Interleaved.others, Interleaved.seconds = {}, {"ours": [[]]}
        for step in steps:
            begin = time.perf_counter()
            yield step  # the trainer takes the step, and all that its loop does beside it
            block = self.seconds["ours"][-1]
            block.append(time.perf_counter() - begin)
            if len(block) == BLOCK and self.savings.cache._cached["text"].stores["train"].missing(WHOLE).size == 0:
                self.play_others()
                self.seconds["ours"].append([])

    def play_others(self) -> None:
        """Let each of the others take a block of steps."""
        self.others = self.others or bare_steps(self)
        for name, step in self.others.items():
            taken = []
            for _ in range(BLOCK):
                begin = time.perf_counter()
                step()
                taken.append(time.perf_counter() - begin)
            self.seconds.setdefault(name, []).append(taken)


def bare_steps(trainer: Watched) -> dict[str, Callable[[], None]]:
    """Return steps by hand on the features that the trainer's cache holds: bare, leanest, and through accelerate."""
    store = trainer.savings.cache._cached["text"].stores["train"]
    count = len(trainer.run.train)
    features = store.read(WHOLE, np.arange(count), None, trainer.device)
    assert features is not None
    target = torch.from_numpy(trainer.run.train.target)
    return {
        "bare": bare(features, target, rows_of(count), trainer.optimizer, clip=True),
        "leanest": bare(features, target, rows_of(count), None, clip=False),
        "accelerate": through_accelerate(features, target, rows_of(count), trainer.optimizer),
    }


def rows_of(count: int) -> Iterator[torch.Tensor]:
    """Yield the rows of batches, shuffled anew in every epoch."""
    orders = (np.random.default_rng(epoch).permutation(count) for epoch in range(10**9))
    return chain.from_iterable(torch.from_numpy(order[: count // BATCH * BATCH]).split(BATCH) for order in orders)


def head_of(features: torch.Tensor, like: torch.optim.Optimizer | None) -> tuple[nn.Linear, torch.optim.Optimizer]:
    """Return a head and its optimizer: in the groups of another, or in one."""
    head = nn.Linear(features.shape[1], 2)
    groups: Any = head.parameters()
    if like is not None:
        by_shape = {tuple(p.shape): p for p in head.parameters()}
        shapes = [([tuple(p.shape) for p in group["params"]], group["weight_decay"]) for group in like.param_groups]
        groups = [{"params": [by_shape[one] for one in some], "weight_decay": decay} for some, decay in shapes]
    return head, torch.optim.AdamW(groups, lr=1e-3, fused=True)


def bare(
    features: torch.Tensor, target: torch.Tensor, rows: Iterator[torch.Tensor], like: Any, *, clip: bool
) -> Callable[[], None]:
    """Return a step as a careful person writes it by hand."""
    head, optimizer = head_of(features, like)
    parameters = list(head.parameters())

    def step() -> None:
        positions = next(rows)
        F.cross_entropy(head(features[positions]), target[positions]).backward()
        if clip:
            nn.utils.clip_grad_norm_(parameters, CLIP)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def through_accelerate(
    features: torch.Tensor, target: torch.Tensor, rows: Iterator[torch.Tensor], like: Any
) -> Callable[[], None]:
    """Return the same step through accelerate's wrappers of model, optimizer, backward pass and clipping."""
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True)
    head, optimizer = accelerator.prepare(*head_of(features, like))
    parameters = list(head.parameters())

    def step() -> None:
        positions = next(rows)
        accelerator.backward(F.cross_entropy(head(features[positions]), target[positions]))
        accelerator.clip_grad_norm_(parameters, CLIP)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def head(setting: Setting) -> dict[str, Any]:
    """Microseconds of a step on cached features, blocks of each kind in turn in one process."""
    fitting.Trainer = Interleaved  # type: ignore[attr-defined]
    rows = 20 * BATCH
    epochs = math.ceil((setting.steps + 2 * BLOCK) / 18)
    options: dict[str, Any] = {
        "env__batch_size": BATCH,
        "optim__max_epochs": epochs,
        "optim__val_check_interval": float(epochs),
        "optim__lr_choice": "single_lr",
    }
    try:
        trainer = run("minilm", setting, frozen="backbone", rows=rows, **options)
    finally:
        fitting.Trainer = Watched  # type: ignore[attr-defined]
    seconds = Interleaved.seconds
    full = [block for block in seconds["ours"] if len(block) == BLOCK][-len(seconds["bare"]) :]
    micro = {name: [1e6 * np.array(b[WARM:]) for b in blocks] for name, blocks in (seconds | {"ours": full}).items()}
    base = [float(np.median(block)) for block in micro["bare"]]
    lines = []
    for name, blocks in micro.items():
        medians = [float(np.median(block)) for block in blocks]
        differences = [a - b for a, b in zip(medians, base, strict=True)]
        lines.append(
            {
                "step": name,
                "median (us)": round(float(np.median(np.concatenate(blocks))), 1),
                "beyond bare (us)": round(statistics.median(differences), 1),
                "least": round(min(differences), 1),
                "most": round(max(differences), 1),
                "steps": sum(len(block) for block in blocks),
            }
        )
    groups = [sum(p.numel() for p in group["params"]) for group in trainer.optimizer.param_groups]
    return show(lines, batch=BATCH, groups=groups)


SECTIONS: dict[str, Callable[[Setting], dict[str, Any]]] = {
    "whole": whole,
    "part": part,
    "bits": bits,
    "norms": norms,
    "state": state,
    "head": head,
}


if __name__ == "__main__":
    main()
