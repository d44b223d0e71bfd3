"""What freezing the image backbone of a detector saves in time, and that what is frozen stays as it is.

    OMP_NUM_THREADS=1 python benchmarks/detection_time.py [--rounds 5] [--size 256] [--batch 4]

One RT-DETR v2 with 18 layers at random (time does not depend on the weights), twice: everything training, and with
`frozen_layers: backbone`. Steps of the two (forward and backward pass, clipping, AdamW) alternate in one process; CPU
seconds, one thread, the median of pairs. Afterwards the parameters and buffers of the frozen backbone are compared, bit
for bit, with what they were. Prints a table and writes `benchmarks/results/detection_time.json`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image, ImageDraw

from thermocline.contracts.request import Request
from thermocline.data.batches import Batch
from thermocline.pipeline.ready import ready
from thermocline.tuning.apply import AppliedPlan

FROZEN = {"everything trains": None, "backbone frozen": "backbone"}


def shapes(rows: int, side: int) -> pd.DataFrame:
    """Rectangles of two colours on white, and their boxes."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(rows):
        picture, boxes = Image.new("RGB", (side, side), "white"), []
        for _ in range(4):
            (x, y), (w, h) = rng.integers(0, side // 2, 2), rng.integers(side // 8, side // 2, 2)
            colour = str(rng.choice(["red", "blue"]))
            ImageDraw.Draw(picture).rectangle([int(x), int(y), int(x + w), int(y + h)], fill=colour)
            boxes.append([int(x), int(y), int(x + w), int(y + h), colour])
        found.append((picture, boxes))
    return pd.DataFrame(found, columns=["picture", "rois"])


class Loop:
    """A detector, its plan and its optimizer."""

    def __init__(self, frame: pd.DataFrame, frozen: Any, size: int, batch: int) -> None:
        options = {"model.detector.size": size, "model.frozen_layers": frozen, "model.detector.augment": "none"}
        request = Request(
            frame,
            "rois",
            problem_type="object_detection",
            presets="detection_offline",
            hyperparameters=options,
            verbosity=0,
            training=False,
        )
        found = ready(request)
        assembly = found.assembly
        self.model = assembly.model
        self.applied = AppliedPlan(assembly.model, assembly.layer_map, assembly.plan)
        self.watch = assembly.plan.verify(assembly.model)
        self.optimizer = torch.optim.AdamW(assembly.plan.parameter_groups(assembly.model), fused=True)
        self.batch: Batch = found.train.batch(np.arange(batch), 0)

    def step(self) -> float:
        """Take one step and return its CPU seconds."""
        self.applied.train()
        torch.manual_seed(0)
        begin = time.process_time()
        self.model(self.batch)["loss"].backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 0.1)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return time.process_time() - begin


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "detection_time.json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    frame = shapes(24, 2 * arguments.size)
    loops = {name: Loop(frame, frozen, arguments.size, arguments.batch) for name, frozen in FROZEN.items()}
    for loop in loops.values():
        loop.step()
    seconds = [{name: loop.step() for name, loop in loops.items()} for _ in range(arguments.rounds)]
    full, frozen = FROZEN
    ratios = sorted(pair[frozen] / pair[full] for pair in seconds)
    loops[
        frozen
    ].watch.check()  # raises if a bit of the frozen backbone, its BatchNorms' statistics included, has changed
    row = {name: round(statistics.median(pair[name] for pair in seconds), 3) for name in FROZEN}
    row |= {"frozen / full": round(statistics.median(ratios), 3), "least": round(ratios[0], 3)}
    row |= {"most": round(ratios[-1], 3), "backbone unchanged": True}
    print(pd.DataFrame([row]).to_string(index=False))
    told = {"torch": torch.__version__, "size": arguments.size, "batch": arguments.batch, "rounds": arguments.rounds}
    arguments.out.write_text(json.dumps(told | {"rows": [row]}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
