"""A segmenter with random weights for pictures of shapes, on one CPU core; and what a frozen backbone saves.

    OMP_NUM_THREADS=1 python benchmarks/segmentation.py [--epochs 20] [--seed 0]

The data is the sample `shapes`: 300 pictures of 96 × 72 pixels to learn and validate on, 60 to test on. The backbone is
timm's `test_resnet` with random weights, under the light head.

Asked for: a mean IoU of 0.85 on the test pictures, with at most 10 minutes of CPU time in `fit`, loading and validation
included. Bytes are those of tensors that autograd keeps for the backward pass of a batch of 8, each storage once,
weights and buffers left out, with the gradients of what trains and AdamW's two moments of it: the backbone unfrozen and
frozen. Prints a table and writes `benchmarks/results/segmentation.json`. Exits with 1 where the score is missed.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

import torch

from thermocline import Predictor, load_sample
from thermocline.problems.semantic_segmentation.options import SegmenterOptions
from thermocline.problems.semantic_segmentation.segmenter_build import segmenter_of
from thermocline.problems.semantic_segmentation.segmenter_layers import layers_of
from thermocline.tuning.apply import AppliedPlan
from thermocline.tuning.plan.layer_plan import LayerPlan

ASKED, MINUTES, TEST = 0.85, 10.0, 60
BACKBONE, WIDTH = "test_resnet", 64


def main() -> None:
    """Fit, score, count, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", nargs="*", default=[], help="overrides: key=value")
    parser.add_argument("--verbosity", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "segmentation.json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    result = run(arguments) | {"bytes": {state: counted_bytes(state) for state in ("unfrozen", "frozen")}}
    print(told(result))
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    sys.exit(0 if result["met"] else 1)


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Fit on the first pictures, score on the last ones."""
    frame = load_sample("shapes")
    begin, cpu = time.monotonic(), cpu_seconds()
    predictor = Predictor("mask", problem_type="semantic_segmentation", verbosity=arguments.verbosity).fit(
        frame.iloc[:-TEST], hyperparameters=[options(arguments.epochs), *arguments.set], seed=arguments.seed
    )
    minutes = (cpu_seconds() - cpu) / 60, (time.monotonic() - begin) / 60
    found = predictor.evaluate(frame.iloc[-TEST:], ["mean_iou", "pixel_accuracy", "per_class"])
    return {
        "torch": torch.__version__,
        "backbone": BACKBONE,
        "epochs": arguments.epochs,
        "batch_size": predictor.config["env.batch_size"],
        "seed": arguments.seed,
        "set": arguments.set,
        "test": {name: round(value, 4) for name, value in found.items()},
        "cpu_minutes": round(minutes[0], 2),
        "wall_minutes": round(minutes[1], 2),
        "asked": {"mean_iou": ASKED, "cpu_minutes": MINUTES},
        "met": found["mean_iou"] >= ASKED and minutes[0] <= MINUTES,
    }


def options(epochs: int) -> dict[str, Any]:
    """What is set beside the preset: a small backbone of random weights, and how it learns."""
    return {
        "model.segmenter.backbone": BACKBONE,
        "model.segmenter.backbone_pretrained": False,
        "model.segmenter.head_width": WIDTH,
        "model.segmenter.augment": "none",
        "optim.lr": 2e-3,
        "optim.lr_choice": "single_lr",
        "optim.max_epochs": epochs,
        "optim.val_check_interval": 5.0,
        "env.device": "cpu",
    }


def counted_bytes(state: str) -> dict[str, int]:
    """The bytes of a step on eight images of noise of 256 × 192 pixels, on a MobileNetV2."""
    torch.manual_seed(0)
    chosen = SegmenterOptions(backbone="mobilenetv2_100", backbone_pretrained=False)
    segmenter = segmenter_of(chosen, range(6), size_of_training_images=(180, 240))
    layers = layers_of(segmenter, chosen)
    whole = torch.nn.Module()
    whole.towers = torch.nn.ModuleDict({"segmenter": segmenter})
    frozen = "backbone" if state == "frozen" else None
    applied = AppliedPlan(whole, layers, LayerPlan.build(layers, frozen_layers=frozen, lr_choice="single_lr"))
    whole.train()
    applied.train()
    own = {tensor.untyped_storage().data_ptr() for tensor in (*whole.parameters(), *whole.buffers())}
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    pixels = torch.randint(0, 256, (8, 3, *segmenter.spec.size), dtype=torch.uint8)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = segmenter(pixels).square().mean()
    assert torch.isfinite(loss), loss
    gradients = sum(4 * one.numel() for one in whole.parameters() if one.requires_grad)
    parts = {"activations": sum(kept.values()), "gradients": gradients, "optimizer": 2 * gradients}
    return {**parts, "total": sum(parts.values())}


def told(result: dict[str, Any]) -> str:
    """The table, the cost, and what freezing saves."""
    lines = [f"{name.removeprefix('iou/'):<16}{value:>7.3f}" for name, value in result["test"].items()]
    verdict = "met" if result["met"] else "NOT MET"
    lines.append(
        f"asked: {ASKED:.2f} within {MINUTES:.0f} CPU minutes: {verdict} in {result['cpu_minutes']:.1f}, "
        f"{result['epochs']} epochs, batch {result['batch_size']}"
    )
    for state, own in result["bytes"].items():
        lines.append(f"MobileNetV2 {state:<9}" + ", ".join(f"{name} {size / 1e6:.1f} MB" for name, size in own.items()))
    return "\n".join(lines)


def cpu_seconds() -> float:
    """User and system time of this process and of those it waited for."""
    return sum(
        used.ru_utime + used.ru_stime
        for used in (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    )


if __name__ == "__main__":
    main()
