"""Does layerwise decay beat one learning rate? Test scores on real sets, five seeds, the rate chosen for each.

    OMP_NUM_THREADS=1 python benchmarks/layerwise_decay.py --data ../shared/data [--only questions] [--seeds 0 1]

Two arms: `single_lr`, where every layer has the same rate, and `layerwise_decay` at the preset's own decay. Each is
fitted at every rate of one grid, and the rate of the least log-loss on the validation rows is taken, so that neither
has the rate of the other. A seed decides which rows train and which validate, and their order; it is the same for
both arms, so differences are taken seed by seed. The test rows are the same for all.

Sets that ship with a package (extra `samples`) are read from it, others from `--data`, where there is such a folder.
Prints the table and writes `benchmarks/results/layerwise_decay.json`.
"""

from __future__ import annotations

import argparse
import json
import statistics
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from thermocline import Predictor, load_sample
from thermocline.data.sample_facts import SAMPLES

ARMS = ("single_lr", "layerwise_decay")
RATES = (1e-4, 3e-4, 1e-3, 3e-3)
SCORES = ("log_loss", "accuracy")
PRESETS = ["medium_quality", "offline"]
PARTS = ("train", "test")
SEEDS = [0, 1, 2, 3, 4]
WEIGHTS = Path("weights") / "hf_mobilenet_v1_0.25_128"
COMMON = {"optim.max_epochs": 6, "optim.top_k": 1, "optim.refit": "off", "env.batch_size": 16}


@dataclass(frozen=True)
class Case:
    """A set, its columns, how many rows train, validate and test, and whether the backbone is the one of images."""

    name: str
    label: str
    column: str
    train: int = 150
    valid: int = 100
    test: int = 400
    image: bool = True


CASES = [
    Case("digits", "label", "image"),
    Case("img_cifar10_3k", "label", "image"),
    Case("questions", "topic", "question", test=300, image=False),
    Case("text_banking77", "label", "text", train=300, image=False),
    Case("text_sst2", "label", "text", image=False),
]


@dataclass(frozen=True)
class Fit:
    """One fit: its arm, rate and seed, and its scores on the validation and on the test rows."""

    arm: str
    rate: float
    seed: int
    valid: dict[str, float]
    test: dict[str, float]


def main() -> None:
    """Fit what is asked for, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    here = Path(__file__).parent
    parser.add_argument("--data", type=Path, default=here.parents[1] / "shared" / "data")
    parser.add_argument("--only", nargs="*", default=[case.name for case in CASES])
    parser.add_argument("--seeds", nargs="*", type=int, default=SEEDS)
    parser.add_argument("--out", type=Path, default=here / "results" / "layerwise_decay.json")
    arguments = parser.parse_args()
    found: dict[str, Any] = json.loads(arguments.out.read_text()) if arguments.out.is_file() else {}
    for case in CASES:
        frames = rows_of(case, arguments.data) if case.name in arguments.only else None
        if frames is None:
            continue
        options = options_of(case, arguments.data)
        fits = [fit for seed in arguments.seeds for fit in fits_of(case, *frames, options, seed)]
        found[case.name] = summary(case, fits)
        print(table(case, found[case.name]), flush=True)
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def rows_of(case: Case, data: Path) -> tuple[pd.DataFrame, pd.DataFrame] | None:
    """Return the rows to train and validate with, and the test rows; None where set or weights are not there."""
    ours = case.name in SAMPLES
    missing = [] if ours or (data / case.name).is_dir() else [data / case.name]
    missing += [data / WEIGHTS] if case.image and not (data / WEIGHTS).is_dir() else []
    if missing:
        print(f"{case.name}: there is no folder {missing[0]}; name the data with --data.")
        return None
    if ours:
        frame = load_sample(case.name)[[case.column, case.label]]
        return frame.iloc[case.test :], frame.iloc[: case.test]
    train, test = (pd.read_csv(data / case.name / f"{part}.csv")[[case.column, case.label]] for part in PARTS)
    for frame in (train, test) if case.image else ():
        frame[case.column] = [str((data / case.name / path).resolve()) for path in frame[case.column]]
    return train, test.sample(min(case.test, len(test)), random_state=0)


def options_of(case: Case, data: Path) -> dict[str, Any]:
    """Return the options beyond the presets: a small pretrained backbone, for images from the data folder."""
    if not case.image:
        return COMMON | {"model.text.max_length": 32, "model.tfidf": "off"}  # the network alone
    weights = str((data / WEIGHTS).resolve())
    return COMMON | {
        "model.image.checkpoint": weights,
        "model.image.pretrained": True,
        "model.image.size": 64,
        "model.image.augment": "none",
    }


def fits_of(case: Case, pool: pd.DataFrame, test: pd.DataFrame, options: dict[str, Any], seed: int) -> list[Fit]:
    """Return a fit for each arm and rate, all with the same rows."""
    order = np.random.default_rng(seed).permutation(len(pool))
    train, valid = pool.iloc[order[: case.train]], pool.iloc[order[case.train : case.train + case.valid]]
    known = set(train[case.label])  # of many classes a few rows may have some only
    valid, shown = valid[valid[case.label].isin(known)], test[test[case.label].isin(known)]
    fits = []
    for arm in ARMS:
        for rate in RATES:
            predictor = Predictor(case.label, eval_metric="log_loss", verbosity=0)
            own = options | {"optim.lr_choice": arm, "optim.lr": rate}
            predictor.fit(train, valid, presets=PRESETS, hyperparameters=own, seed=seed)
            scores = (predictor.evaluate(rows, list(SCORES)) for rows in (valid, shown))
            fits.append(Fit(arm, rate, seed, *scores))
            print(case.name, seed, arm, rate, {k: round(v, 4) for k, v in fits[-1].test.items()}, flush=True)
    return fits


def summary(case: Case, fits: list[Fit]) -> dict[str, Any]:
    """Return what was chosen by validation, the means over seeds with their standard errors, and all fits."""
    seeds = sorted({fit.seed for fit in fits})
    best = {
        (arm, seed): min((f for f in fits if (f.arm, f.seed) == (arm, seed)), key=lambda fit: fit.valid["log_loss"])
        for arm in ARMS
        for seed in seeds
    }
    arms = {
        arm: {
            "rates": [best[arm, seed].rate for seed in seeds],
            **{score: spread([best[arm, seed].test[score] for seed in seeds]) for score in SCORES},
        }
        for arm in ARMS
    }
    single, decay = ARMS
    gains = {
        score: spread([best[decay, seed].test[score] - best[single, seed].test[score] for seed in seeds])
        for score in SCORES
    }
    return {
        "rows": {"train": case.train, "valid": case.valid, "test": case.test},
        "seeds": seeds,
        "arms": arms,
        "decay minus single": gains,
        "fits": [asdict(fit) for fit in fits],
    }


def spread(values: list[float]) -> dict[str, Any]:
    """Return mean, standard error of the mean, and the values."""
    error = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else 0.0
    return {"mean": round(statistics.fmean(values), 4), "se": round(error, 4), "values": [round(v, 4) for v in values]}


def table(case: Case, found: dict[str, Any]) -> str:
    """Return the table of one set."""
    lines = [f"{case.name}: {case.train} rows to train, {len(found['seeds'])} seeds, mean ± standard error"]
    for name, row in [*found["arms"].items(), ("decay minus single", found["decay minus single"])]:
        scores = "   ".join(f"{score} {row[score]['mean']:.3f} ± {row[score]['se']:.3f}" for score in SCORES)
        lines.append(f"  {name:20}{scores}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
