"""Small pictures with masks of three classes, and options of a segmenter that fits them in a second or two."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

HEIGHT, WIDTH = 40, 60
TINY_SEGMENTER: dict[str, Any] = {
    "model.segmenter.backbone": "test_resnet",
    "model.segmenter.backbone_pretrained": False,
    "model.segmenter.head_width": 16,
    "optim.max_epochs": 2,
    "optim.lr": 3e-3,
    "env.batch_size": 4,
    "env.device": "cpu",
}


def picture(row: int) -> tuple[np.ndarray, np.ndarray]:
    """A picture uint8 `(40, 60, 3)` and its mask uint8 `(40, 60)`: a box of class 1 or 2, and a line of no class."""
    random = np.random.default_rng(row)
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    top, left = random.integers(0, 16), random.integers(0, 30)
    mask[top : top + 20, left : left + 24] = 1 + row % 2
    colours = np.array([[60, 60, 60], [220, 60, 40], [40, 90, 220]])
    pixels = colours[mask] + random.integers(-20, 21, (HEIGHT, WIDTH, 3))
    mask[:2] = 255
    return pixels.clip(0, 255).astype(np.uint8), mask


def write_masked(folder: Path, rows: int = 12) -> pd.DataFrame:
    """Pictures and masks as files below a folder; the frame has their relative paths."""
    (folder / "masks").mkdir(parents=True, exist_ok=True)
    names = [f"{row}.png" for row in range(rows)]
    for row, name in enumerate(names):
        pixels, mask = picture(row)
        Image.fromarray(pixels).save(folder / name)
        Image.fromarray(mask).save(folder / "masks" / name)
    return pd.DataFrame({"file": names, "mask": [f"masks/{name}" for name in names]})
