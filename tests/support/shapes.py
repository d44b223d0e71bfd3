"""Images with big coloured rectangles, and detectors small enough to learn from a few of them in seconds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image, ImageDraw

from support.tiny_detectors import SIDE, config_of

COLOURS = {"disc": (220, 60, 50), "box": (60, 90, 220)}


def write_shapes(folder: Path, rows: int = 12, seed: int = 0, *, empty: int = 1) -> pd.DataFrame:
    """PNG files of a disc or a box each; the last `empty` rows have neither. Paths are relative to the folder."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    names, cells = [], []
    for row in range(rows):
        picture = Image.new("RGB", (96, 72), (25, 25, 25))
        boxes: list[list[Any]] = []
        if row < rows - empty:
            label = ("disc", "box")[row % 2]
            x, y = int(rng.integers(0, 45)), int(rng.integers(0, 30))
            edges = [x, y, x + int(rng.integers(36, 50)), y + int(rng.integers(30, 41))]
            draw = ImageDraw.Draw(picture)
            (draw.ellipse if label == "disc" else draw.rectangle)(edges, fill=COLOURS[label])
            boxes.append([*edges, label])
        picture.save(folder / f"{row}.png")
        names.append(f"{row}.png")
        cells.append(boxes)
    return pd.DataFrame({"file": names, "rois": cells})


def save_detector(folder: Path, kind: str = "rt_detr", *, pretrained: bool = True, **changes: Any) -> Path:
    """A checkpoint of a small detector with random weights, or its configuration alone."""
    config = config_of(kind, 2, num_denoising=0, **changes) if kind == "rt_detr" else config_of(kind, 2, **changes)
    if not pretrained:
        config.save_pretrained(str(folder))
        return folder
    from transformers import AutoModelForObjectDetection

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        AutoModelForObjectDetection.from_config(config).save_pretrained(str(folder))
    return folder


def options(checkpoint: Path, folder: Path, **more: Any) -> dict[str, Any]:
    """Hyperparameters of a fit of two epochs."""
    return {
        "model.detector.checkpoint": str(checkpoint),
        "model.detector.size": SIDE,
        "data.image_folder": str(folder),
        "optim.max_epochs": 2,
        "optim.lr": 1e-3,
        "env.batch_size": 4,
        "env.device": "cpu",
        **more,
    }


def write_coco(frame: pd.DataFrame, file: Path) -> Path:
    """The same boxes as a COCO file beside the images."""
    names = sorted({box[4] for cell in frame["rois"] for box in cell})
    marks: list[dict[str, Any]] = [
        {"image_id": row, "category_id": names.index(box[4]) + 1, "bbox": [*box[:2], box[2] - box[0], box[3] - box[1]]}
        for row, cell in enumerate(frame["rois"])
        for box in cell
    ]
    data = {
        "images": [{"id": row, "file_name": name, "width": 96, "height": 72} for row, name in enumerate(frame["file"])],
        "annotations": [{"id": n, "iscrowd": 0, "area": m["bbox"][2] * m["bbox"][3], **m} for n, m in enumerate(marks)],
        "categories": [{"id": number + 1, "name": name} for number, name in enumerate(names)],
    }
    file.write_text(json.dumps(data))
    return file


def write_voc(frame: pd.DataFrame, root: Path, images: Path) -> Path:
    """The same boxes as a Pascal VOC folder."""
    (root / "Annotations").mkdir(parents=True)
    (root / "JPEGImages").mkdir()
    for name, cell in zip(frame["file"], frame["rois"], strict=True):
        (root / "JPEGImages" / name).write_bytes((images / name).read_bytes())
        objects = "".join(
            f"<object><name>{label}</name><bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax>"
            "</bndbox></object>"
            for x1, y1, x2, y2, label in cell
        )
        text = f"<annotation><filename>{name}</filename>{objects}</annotation>"
        (root / "Annotations" / name.replace(".png", ".xml")).write_text(text)
    return root
