"""The light record of object detection, importable without torch."""

from __future__ import annotations

from thermocline.problems.object_detection.options import BoxOptions, DetectorOptions
from thermocline.registry import ProblemInfo
from thermocline.registry.metrics import MetricInfo

_TYPES = ("object_detection",)
_METRICS: dict[str, tuple[str, ...]] = {
    "map": ("mean_average_precision", "mAP", "map_50_95", "map50_95", "map_0.5:0.95"),
    "map_50": ("ap50", "map50", "map@50", "map@0.5", "map_0.5"),
    "map_75": ("ap75", "map75", "map@75", "map@0.75", "map_0.75"),
    "map_small": (),
    "map_medium": (),
    "map_large": (),
    "mar_100": (),
}
"""COCO's scores, each with its aliases."""

INFO = ProblemInfo(
    name="object_detection",
    implementation="thermocline.problems.object_detection.problem:ObjectDetection",
    problem_types=_TYPES,
    metrics=tuple(
        MetricInfo(name, greater_is_better=True, problem_types=_TYPES, aliases=aliases)
        for name, aliases in _METRICS.items()
    ),
    default_metric={"object_detection": "map"},
    usual_metrics={"object_detection": ("map", "map_50", "map_75")},
    preset="detection_medium",
    type_aliases={"detection": "object_detection"},
    file_types={".json": "a COCO file"},
    options={"model.detector": DetectorOptions, "data": BoxOptions},
    reads=frozenset({"data.image_folder", "data.max_unreadable_images", "env.cache_images"}),
    unread={
        "model.peft": "it is for text and image backbones, not for detectors. Leave it out, and freeze layers instead: "
        "model.frozen_layers: backbone.",
        "env.compile": "it is not for detectors: their losses match boxes outside of torch. Leave it out.",
        "optim.loss": "it is not for detectors, which bring a loss of their own. Leave it out.",
        "optim.class_weights": "it is not for detectors, which bring a loss of their own. Leave it out.",
        "optim.label_smoothing": "it is not for detectors, which bring a loss of their own. Leave it out.",
        "optim.head_init": "boxes have no linear probe: the heads of a detector start at random. Leave it out.",
    },
)
