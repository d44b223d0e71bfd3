"""What freezing a detector's backbone saves: bytes of saved activations, gradients and optimizer state.

    python benchmarks/detection_memory.py [--models detr rt_detr d_fine] [--batch 2] [--size 640] [--device cpu]

Each detector has its published size and random weights. Counted after one forward pass in train mode with its loss:
every tensor that autograd keeps for the backward pass, each storage once, weights and buffers left out; the gradients
of what trains (4 bytes a weight); and AdamW's two moments of it. The counts are the same on every machine. `frozen` is
`frozen_layers="backbone"`, `full` trains everything that the detector does not itself build frozen, `thawed` that too.
Beside them stands what began all this: YOLOX-L at batch 8 went from over 16 GB to under 10 GB.

With `--device cuda` the peak of `torch.cuda.max_memory_allocated` over whole steps is measured too, and the largest
batch that fits in 16 GB is sought. Prints a table; writes `benchmarks/results/detection_memory.json`.
"""

from __future__ import annotations

import argparse
import gc
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from thermocline.problems.object_detection.detector import Detector
from thermocline.problems.object_detection.detector_build import build_detector
from thermocline.problems.object_detection.detector_config import DetectorSettings
from thermocline.problems.object_detection.detector_source import find_detector
from thermocline.tuning.apply import AppliedPlan
from thermocline.tuning.layers.layer_map import LayerMap
from thermocline.tuning.plan.layer_plan import LayerPlan

#: The detector, and the largest share of the full cost that it may take with its backbone frozen.
MODELS = {
    "detr": ("facebook/detr-resnet-50", 0.45),
    "rt_detr": ("PekingU/rtdetr_r50vd", 0.60),
    "d_fine": ("ustc-community/dfine-large-coco", 0.65),
}
YOLOX_L = 10 / 16
CLASSES = [f"class {number}" for number in range(80)]
BOXES = 8
LIMIT = 16 * 1024**3


def main() -> None:
    """Count, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--batch", type=int, default=2, help="images")
    parser.add_argument("--size", type=int, default=640, help="pixels a side")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "detection_memory.json")
    arguments = parser.parse_args()
    rows = []
    for name in arguments.models:
        row = examined(name, arguments.batch, arguments.size, arguments.device)
        rows.append(row)
        print(line(row), flush=True)
    print(f"{'YOLOX-L, batch 8, as published':<44}{10.0:>9.2f}{16.0:>9.2f}{'':>9}{YOLOX_L:>8.3f}   (GB)")
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps({"torch": torch.__version__, "rows": rows}, indent=1) + "\n", encoding="utf-8")


def line(row: dict[str, Any]) -> str:
    """One line of the table, and under it what the sums consist of."""
    parts = [f"{row['model']}, batch {row['batch']} x {row['size']} px"]
    sums = [row[key]["total"] / 1e9 for key in ("frozen", "full", "thawed")]
    verdict = "met" if row["ratio"] <= row["limit"] else "NOT MET"
    text = (
        f"{parts[0]:<44}{sums[0]:>9.2f}{sums[1]:>9.2f}{sums[2]:>9.2f}{row['ratio']:>8.3f}   <= {row['limit']} {verdict}"
    )
    for key in ("frozen", "full", "thawed"):
        own = row[key]
        text += (
            f"\n    {key:<8}activations {own['activations'] / 1e9:.2f}, gradients {own['gradients'] / 1e9:.3f}, "
            f"optimizer {own['optimizer'] / 1e9:.3f} GB; {own['trainable'] / 1e6:.1f} M weights train"
        )
        if "peak" in own:
            text += f"; peak {own['peak'] / 1e9:.2f} GB, largest batch in 16 GB: {own['largest batch']}"
    return text


def examined(name: str, batch: int, size: int, device: str) -> dict[str, Any]:
    """The counts of one detector in its three states."""
    repository, limit = MODELS[name]
    row: dict[str, Any] = {"model": repository, "batch": batch, "size": size, "limit": limit, "boxes": BOXES}
    for state in ("frozen", "full", "thawed"):
        detector, applied = prepared(repository, size, state)
        detector.to(device)
        row[state] = counts(detector, made_batch(batch, size, device))
        if device.startswith("cuda"):
            row[state] |= measured(detector, applied, size, batch, device)
        del detector, applied
        gc.collect()
    row["ratio"] = round(row["frozen"]["total"] / row["full"]["total"], 4)
    row["ratio to thawed"] = round(row["frozen"]["total"] / row["thawed"]["total"], 4)
    return row


def prepared(repository: str, size: int, state: str) -> tuple[Detector, AppliedPlan]:
    """A detector in train mode under the plan of a state. Random ones are thawed, so constants are put back."""
    torch.manual_seed(0)
    source = find_detector(repository, pretrained=False)
    detector = build_detector(source, None, CLASSES, DetectorSettings(size=size, unfreeze=state == "thawed"))
    if state != "thawed":
        from transformers import AutoModelForObjectDetection

        detector.model = AutoModelForObjectDetection.from_config(detector.model.config)
    layer_map = LayerMap.of(detector.model, tower="detector")
    plan = LayerPlan.build(layer_map, frozen_layers="backbone" if state == "frozen" else None, lr_choice="single_lr")
    applied = AppliedPlan(detector.model, layer_map, plan)
    detector.train()
    applied.train()
    return detector, applied


def made_batch(batch: int, size: int, device: str) -> dict[str, Any]:
    """Noise with boxes; the same every time."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (batch, 3, size, size), generator=generator, dtype=torch.uint8)
    labels, boxes = [], []
    for _ in range(batch):
        centre = 0.2 + 0.6 * torch.rand(BOXES, 2, generator=generator)
        extent = 0.05 + 0.3 * torch.rand(BOXES, 2, generator=generator)
        labels.append(torch.randint(0, len(CLASSES), (BOXES,), generator=generator))
        boxes.append(torch.cat([centre, extent], 1))
    made = {"pixels": pixels, "labels": torch.cat(labels), "boxes": torch.cat(boxes)}
    return {**{name: value.to(device) for name, value in made.items()}, "counts": torch.full((batch,), BOXES)}


def counts(detector: Detector, batch: dict[str, Any]) -> dict[str, int]:
    """Bytes after one forward pass with its loss."""
    own = {t.untyped_storage().data_ptr() for t in (*detector.parameters(), *detector.buffers())}
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = detector(batch)["loss"]
    assert torch.isfinite(loss), loss
    del loss
    trainable = [p for p in detector.parameters() if p.requires_grad]
    gradients = sum(p.numel() * p.element_size() for p in trainable)
    activations = sum(kept.values())
    return {
        "activations": activations,
        "gradients": gradients,
        "optimizer": 2 * gradients,
        "total": activations + 3 * gradients,
        "trainable": sum(p.numel() for p in trainable),
    }


def measured(detector: Detector, applied: AppliedPlan, size: int, batch: int, device: str) -> dict[str, int]:
    """The peak of GPU memory over steps at this batch, and the largest batch whose steps stay within 16 GB."""
    detector.zero_grad(set_to_none=True)
    optimizer = torch.optim.AdamW([p for p in detector.parameters() if p.requires_grad], lr=1e-6)

    def peak(images: int) -> int:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        data = made_batch(images, size, device)
        for _ in range(2):
            applied.train()
            detector(data)["loss"].backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        return torch.cuda.max_memory_allocated()

    return {"peak": peak(batch), "largest batch": largest(peak)}


def largest(peak: Callable[[int], int]) -> int:
    """The largest batch within the limit: doubled until it is passed, then halved in between."""
    low, high = 0, 1
    while peak(high) <= LIMIT:
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if peak(middle) <= LIMIT else (low, middle)
    return low


if __name__ == "__main__":
    print(f"{'GB':<44}{'frozen':>9}{'full':>9}{'thawed':>9}{'ratio':>8}")
    main()
