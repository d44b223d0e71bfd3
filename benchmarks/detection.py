"""A detector for blood cells from 205 images, on one CPU core, without a detector checkpoint.

    OMP_NUM_THREADS=1 python benchmarks/detection.py [--data ../shared/data] [--epochs 14] [--seed 0]

The data is BCCD (MIT): 205 images to learn from, 87 to validate on, 72 to test on, about 13 boxes an image. The
backbone is a MobileNetV2 with ImageNet weights; all else of the detector starts at random: RT-DETRv2 (Lv et al., 2024)
of half the width and two decoder layers, described by a folder with a `config.json` and nothing else. The backbone's
finest layers, up to stride 4, are frozen. The preset `detection_offline` gives the rest of the recipe.

Asked for: a mean AP50 of 0.50 on the test images, with at most 40 minutes of CPU time in `fit`, loading and validation
included. Prints AP50 of each class and writes `benchmarks/results/detection.json`. Exits with 1 where that is missed.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from thermocline import Predictor

ASKED, MINUTES = 0.50, 40.0
LAYERS = 2
WIDTH = 128
#: The smallest published one has width 256, 1024 units in the feed-forward layers and 3 decoder layers.
SHAPE: dict[str, Any] = {
    "model_type": "rt_detr_v2",
    "d_model": WIDTH,
    "encoder_hidden_dim": WIDTH,
    "encoder_ffn_dim": 2 * WIDTH,
    "decoder_ffn_dim": 2 * WIDTH,
    "decoder_in_channels": [WIDTH] * 3,
    "hidden_expansion": 0.5,
    "decoder_layers": LAYERS,
}
SIZE = 256
FROZEN = 4  # the stem and the blocks up to stride 4: edges and colours, and the dearest to go back through


def main() -> None:
    """Fit, score, print, write."""
    here = Path(__file__).parent
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=here.parents[1] / "shared" / "data")
    parser.add_argument("--epochs", type=int, default=14)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", nargs="*", default=[], help="overrides: key=value")
    parser.add_argument("--verbosity", type=int, default=1)
    parser.add_argument("--out", type=Path, default=here / "results" / "detection.json")
    arguments = parser.parse_args()
    cells, weights = arguments.data / "od_bccd", arguments.data / "weights" / "timm_mobilenetv2_100"
    absent = [str(folder) for folder in (cells, weights) if not folder.is_dir()]
    if absent:
        print(f"Skipped: there is no {' and no '.join(absent)}. Name the folder of both with --data.")
        return
    torch.set_num_threads(1)
    result = run(cells, weights, arguments)
    print(told(result))
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    sys.exit(0 if result["met"] else 1)


def run(cells: Path, weights: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Fit on train.csv with val.csv beside it, and score both val.csv and test.csv."""
    begin, cpu = time.monotonic(), cpu_seconds()
    with tempfile.TemporaryDirectory() as shape:
        (Path(shape) / "config.json").write_text(json.dumps(SHAPE), encoding="utf-8")
        predictor = Predictor(
            label="rois", problem_type="object_detection", eval_metric="map_50", verbosity=arguments.verbosity
        ).fit(
            cells / "train.csv",
            tuning_data=cells / "val.csv",
            presets="detection_offline",
            hyperparameters=[options(shape, weights, arguments.epochs), *arguments.set],
            seed=arguments.seed,
        )
    spent = (cpu_seconds() - cpu) / 60, (time.monotonic() - begin) / 60
    minutes = dict(zip(("cpu_minutes", "wall_minutes"), (round(one, 2) for one in spent), strict=True))
    scores = {name: scored(predictor, cells / f"{name}.csv") for name in ("val", "test")}
    return {
        "torch": torch.__version__,
        "epochs": arguments.epochs,
        "batch_size": predictor.config["env.batch_size"],
        "seed": arguments.seed,
        "set": arguments.set,
        "parameters": parameters(predictor),
        **scores,
        **minutes,
        "asked": {"map_50": ASKED, "cpu_minutes": MINUTES},
        "met": scores["test"]["map_50"] >= ASKED and minutes["cpu_minutes"] <= MINUTES,
    }


def options(shape: str, weights: Path, epochs: int) -> dict[str, Any]:
    """What the preset leaves open: the detector, its backbone, and how long it learns."""
    return {
        "model.detector.checkpoint": shape,
        "model.detector.backbone": str(weights),
        "model.detector.size": SIZE,
        "model.detector.frozen_layers": FROZEN,
        "optim.max_epochs": epochs,
        "optim.val_check_interval": 2.0,
        "env.device": "cpu",
    }


def scored(predictor: Predictor, file: Path) -> dict[str, float]:
    """The scores of the images in a file: means, and AP50 of each class."""
    found = predictor.evaluate(file, ["map_50", "map", "per_class"])
    return {name: round(value, 4) for name, value in found.items() if not name.startswith("map/")}


def parameters(predictor: Predictor) -> dict[str, int]:
    """How many parameters the detector has, and how many of them train."""
    layers = predictor.plan.layers
    count = sum(layer.n_parameters for layer in layers)
    return {"all": count, "train": sum(layer.n_parameters for layer in layers if not layer.frozen)}


def told(result: dict[str, Any]) -> str:
    """The table, the cost, and how it was reached."""
    lines = [f"{'AP50':<10}{'test':>7}{'val':>7}"]
    names = [name for name in result["test"] if name.startswith("map_50/")]
    for name in [*names, "map_50"]:
        title = name.removeprefix("map_50/") if "/" in name else "mean"
        lines.append(f"{title:<10}{result['test'][name]:>7.3f}{result['val'][name]:>7.3f}")
    verdict = "met" if result["met"] else "NOT MET"
    lines.append(f"asked: {ASKED:.2f} within {MINUTES:.0f} CPU minutes: {verdict} in {result['cpu_minutes']:.1f}")
    count = result["parameters"]
    lines.append(
        f"how: RT-DETRv2 at random, width {WIDTH}, {LAYERS} decoder layers, on MobileNetV2 with ImageNet weights; "
        f"{SIZE} px, batch {result['batch_size']}, {result['epochs']} epochs; {count['train'] / 1e6:.1f} of "
        f"{count['all'] / 1e6:.1f} M weights train, the backbone at a tenth of the rate."
    )
    return "\n".join(lines)


def cpu_seconds() -> float:
    """User and system time of this process and of those it waited for."""
    return sum(
        used.ru_utime + used.ru_stime
        for used in (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    )


if __name__ == "__main__":
    main()
