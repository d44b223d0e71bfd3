"""A detector's image processor: how images are prepared, and which class of transformers turns outputs into boxes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from thermocline.errors import CheckpointError
from thermocline.inputs.image.preprocessor import RESAMPLING, read_preprocessor
from thermocline.problems.object_detection.box_spec import DetectionSpec

#: Processors of types that are not in transformers' own table, as their published checkpoints name them.
_PROCESSORS = {
    "d_fine": "RTDetrImageProcessor",
    "dab-detr": "ConditionalDetrImageProcessor",
    "rt_detr_v2": "RTDetrImageProcessor",
}
#: Types that take square images only, with the side of their published checkpoints.
_SQUARES = {"lw_detr": 640, "rf_detr": 560}
_KEYS = ("size", "image_mean", "image_std", "do_normalize", "do_pad", "resample", "pad_size", "size_divisor")


def spec_of(model_type: str, folder: Path | None, *, size: int | None, masked: bool) -> tuple[DetectionSpec, str]:
    """Return the preprocessing of a checkpoint, or of its family where it has no processor, and the processor's class.

    Args:
        model_type: The detector's type, such as `rt_detr`.
        folder: The checkpoint's folder, if there is one.
        size: Pixels a side in place of the processor's own, or of the shorter side where shapes are kept.
        masked: Whether the detector takes a mask of the padding; its boxes are then shares of the image without it.

    Raises:
        CheckpointError: transformers has no image processor for it.
        ConfigError: Its size is none of those that detectors have.
    """
    own = read_preprocessor(folder)
    name, settings = _settings(model_type, own)
    if model_type in _SQUARES and own.get("size") is None:
        settings["size"] = dict.fromkeys(("height", "width"), _SQUARES[model_type])
    spec = DetectionSpec.of_processor(settings, relative="image" if masked else "canvas")
    return spec if size is None else spec.with_size(size), name


def write_processor(spec: DetectionSpec, name: str, folder: Path) -> None:
    """Write an image processor of transformers that prepares images as `spec` says.

    Args:
        spec: The preprocessing.
        name: The processor's class.
        folder: Where to.
    """
    height, width = spec.size
    sizes = {
        "squash": {"height": height, "width": width},
        "edges": {"shortest_edge": height, "longest_edge": width},
        "fit": {"max_height": height, "max_width": width},
    }
    settings = {
        "image_processor_type": name,
        "do_resize": True,
        "size": sizes[spec.resize],
        "resample": next(code for code, mode in RESAMPLING.items() if mode == spec.interpolation),
        "do_normalize": spec.mean != (0.0, 0.0, 0.0),
        "image_mean": list(spec.mean),
        "image_std": list(spec.std),
        "do_pad": spec.resize != "squash",
        **({} if spec.canvas is None else {"pad_size": {"height": spec.canvas[0], "width": spec.canvas[1]}}),
        **({} if spec.divisor == 1 else {"size_divisor": spec.divisor}),
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")


def _settings(model_type: str, own: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the processor's class and its settings: the class's defaults, replaced by the checkpoint's own."""
    import transformers
    from transformers.models.auto.image_processing_auto import IMAGE_PROCESSOR_MAPPING_NAMES

    table = IMAGE_PROCESSOR_MAPPING_NAMES.get(model_type) or {}
    said = str(own.get("image_processor_type") or own.get("feature_extractor_type") or "")
    said = said.removesuffix("Fast").replace("FeatureExtractor", "ImageProcessor")
    for name in (said, _PROCESSORS.get(model_type, ""), table.get("torchvision", ""), table.get("pil", "")):
        kind = getattr(transformers, name, None) if name else None
        if kind is not None and hasattr(kind, "post_process_object_detection"):
            defaults = {key: getattr(kind, key, None) for key in _KEYS}
            given = {key: own[key] for key in _KEYS if own.get(key) is not None}
            found = {key: value for key, value in {**defaults, **given}.items() if value is not None}
            return name, {**found, "image_processor_type": name}
    raise CheckpointError(
        f"transformers has no image processor that reads the outputs of a {model_type!r} detector. "
        "Choose another detector, or add a preprocessor_config.json that names one."
    )
