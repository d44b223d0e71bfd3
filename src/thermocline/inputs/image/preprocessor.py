"""The preprocessing that a transformers vision model was trained with, read from its folder."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from thermocline.inputs.image.spec import ImageSpec

RESAMPLING = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}  # Pillow's codes


def transformers_spec(folder: Path | None, own_size: int | None) -> ImageSpec:
    """Return what the folder's image processor says; where there is none, 224 pixels and mean and deviation 0.5."""
    data = read_preprocessor(folder)
    resize = data.get("size") or own_size or 224
    if isinstance(resize, int):
        resize = {"shortest_edge": resize}
    shortest = int(resize.get("shortest_edge") or resize.get("height") or own_size or 224)
    crop = data.get("crop_size") if data.get("do_center_crop") else None
    side = int(crop["height"] if isinstance(crop, dict) else crop) if crop else shortest
    fraction, squash = min(1.0, side / shortest), "height" in resize and not crop
    if "crop_pct" in data and not crop:  # ConvNeXt's: smaller images are enlarged and cropped, larger ones squashed
        fraction, squash = (float(data["crop_pct"]), False) if shortest < 384 else (1.0, True)
    plain = data.get("do_normalize") is False
    return ImageSpec(
        (side, side),
        (0.0, 0.0, 0.0) if plain else tuple(data.get("image_mean") or (0.5, 0.5, 0.5)),
        (1.0, 1.0, 1.0) if plain else tuple(data.get("image_std") or (0.5, 0.5, 0.5)),
        RESAMPLING[int(data.get("resample", 2))],
        fraction,
        squash,
    )


def read_preprocessor(folder: Path | None) -> dict[str, Any]:
    """Return the image processor's settings, empty where there are none.

    transformers 5 writes those of a model of two modalities into `processor_config.json`.
    """
    for name in ("preprocessor_config.json", "processor_config.json"):
        file = folder / name if folder else None
        if file is not None and file.is_file():
            data = json.loads(file.read_text(encoding="utf-8"))
            found: dict[str, Any] = data if name.startswith("pre") else data.get("image_processor") or {}
            if found:
                return found
    return {}


def write_preprocessor(spec: ImageSpec, folder: Path) -> None:
    """Write the image processor of transformers that prepares images as `spec` says."""
    height, width = spec.size
    kept = {"height": height, "width": width}
    shorter = math.floor(height / spec.crop_fraction)
    squash = spec.squash or height != width
    settings = {
        "image_processor_type": "ViTImageProcessor" if squash else "CLIPImageProcessor",
        "do_resize": True,
        "size": kept if squash else {"shortest_edge": shorter},
        **({} if squash else {"do_center_crop": True, "crop_size": kept}),
        "resample": next(code for code, name in RESAMPLING.items() if name == spec.interpolation),
        "do_rescale": True,
        "do_normalize": True,
        "image_mean": list(spec.mean),
        "image_std": list(spec.std),
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")
