"""Matching and search: sentences encoded apart, and emoji found by their names.

    OMP_NUM_THREADS=1 python benchmarks/matching.py [--data ../shared/data] [--only stsb|emoji] [--epochs 2]

STS-B (5,749 pairs; scores from 0 to 5) with MiniLM: both sentences of a pair are read alone, by one tower. Validation
is the dev set; the test set is scored once. Asked for: Spearman's correlation of 0.845 on the test set; the cosine of
the same backbone before training is at 0.820, and a regression that reads both sentences together at 0.831.

Emoji (972 images with their names) with MobileNetV2 and MiniLM: a name is looked for among the 417 of the test set.
Asked for: a recall@10 above that of projections at random and of chance (10 of 417, 0.024).

What is not set here is chosen by the kind. Prints the scores and writes `benchmarks/results/matching.json`. Exits with
1 where a figure is missed.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from thermocline import Predictor

ASKED = 0.845
FROZEN = {"spearman of the frozen cosine": 0.820, "spearman of a regression that reads both": 0.831}
SEARCH = ["recall@1", "recall@10", "mrr", "ndcg@10"]
PRESETS = ["medium_quality", "offline"]


def main() -> None:
    """Fit, score, print, write."""
    here = Path(__file__).parent
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=here.parents[1] / "shared" / "data")
    parser.add_argument("--only", choices=["stsb", "emoji"])
    parser.add_argument("--epochs", type=int, help="of STS-B 2, and of emoji 1, by default")
    parser.add_argument("--out", type=Path, default=here / "results" / "matching.json")
    arguments = parser.parse_args()
    found = json.loads(arguments.out.read_text()) if arguments.out.is_file() else {}
    if arguments.only != "emoji":
        found["stsb"] = stsb(arguments.data / "textpair_stsb", arguments.epochs or 2)
    if arguments.only != "stsb":
        found["emoji"] = emoji(arguments.data, arguments.epochs or 1)
    print(json.dumps(found, indent=1))
    arguments.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    missed = found.get("stsb", {"test": {"spearman": 1.0}})["test"]["spearman"] < ASKED
    one = found.get("emoji")
    missed |= one is not None and one["test"]["recall@10"] <= 3 * max(one["chance"], one["at random"]["recall@10"])
    sys.exit(int(missed))


def stsb(folder: Path, epochs: int) -> dict[str, Any]:
    """Return scores of sentences that are encoded apart."""
    train, dev, test = (pd.read_csv(folder / f"{name}.csv") for name in ("train", "dev", "test"))
    predictor = Predictor("score", "similarity", query="sentence1", response="sentence2")
    begin = time.process_time()
    predictor.fit(train, dev, presets=PRESETS, hyperparameters={"optim.max_epochs": epochs})
    chosen = {name: predictor.config[name] for name in ("optim.lr", "env.batch_size")}
    chosen["loss"] = predictor._fitted().target.loss
    seconds = round(time.process_time() - begin)
    return {"epochs": epochs, **chosen, "cpu seconds": seconds, "test": predictor.evaluate(test), **FROZEN}


def emoji(data: Path, epochs: int) -> dict[str, Any]:
    """Return scores of names that are found by images."""
    folder = data / "mm_emoji"
    train, test = (pd.read_csv(folder / f"{name}.csv")[["image", "name"]] for name in ("train", "test"))
    options: dict[str, Any] = {
        "model.image.checkpoint": str(data / "weights" / "timm_mobilenetv2_100"),
        "model.image.pretrained": True,
        "data.image_folder": str(folder),
        "optim.max_epochs": epochs,
    }
    predictor = Predictor(None, "similarity", query="image", response="name")
    begin = time.process_time()
    predictor.fit(train, presets=PRESETS, hyperparameters=options)
    seconds = round(time.process_time() - begin)
    scores = predictor.evaluate(test, SEARCH, image_folder=folder)
    rng = np.random.default_rng(0)
    head: Any = predictor.model.head
    for one in head.values():  # as they are without a start, on towers that know more by now
        weight = rng.normal(size=tuple(one.weight.shape)) / np.sqrt(one.weight.shape[1])
        one.weight.data.copy_(one.weight.data.new_tensor(weight))
        one.bias.data.zero_()
    at_random = predictor.evaluate(test, SEARCH, image_folder=folder)
    shown = {"epochs": epochs, "cpu seconds": seconds, "test": scores, "at random": at_random}
    return {**shown, "chance": 10 / test["name"].nunique()}


if __name__ == "__main__":
    main()
