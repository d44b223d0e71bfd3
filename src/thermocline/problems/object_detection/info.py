"""Object detection, described without importing it."""

from __future__ import annotations

from thermocline.problems.object_detection.options import BoxOptions, DetectorOptions
from thermocline.registry import MetricInfo, ProblemInfo

_TYPES = ("object_detection",)

INFO = ProblemInfo(
    name="object_detection",
    implementation="thermocline.problems.object_detection.problem:ObjectDetection",
    problem_types=_TYPES,
    metrics=(
        MetricInfo("map", True, _TYPES, ("mean_average_precision", "mAP")),
        MetricInfo("map_50", True, _TYPES, ("ap50",)),
        MetricInfo("map_75", True, _TYPES, ("ap75",)),
        MetricInfo("map_small", True, _TYPES),
        MetricInfo("map_medium", True, _TYPES),
        MetricInfo("map_large", True, _TYPES),
        MetricInfo("mar_100", True, _TYPES),
    ),
    default_metric={"object_detection": "map"},
    usual_metrics={"object_detection": ("map", "map_50", "map_75")},
    preset="detection_medium",
    file_types={".json": "a COCO file"},
    options={"model.detector": DetectorOptions, "data": BoxOptions},
    reads=frozenset({"data.image_folder", "data.max_unreadable_images", "env.cache_images"}),
    unread={
        "model.peft": "it is for text and image backbones, not for detectors. Leave it out, and freeze layers instead: "
        "model.frozen_layers: backbone.",
        "env.compile": "it is not for detectors: their losses match boxes outside of torch. Leave it out.",
        "optim.label_smoothing": "it is not for detectors, which bring a loss of their own. Leave it out.",
        "optim.head_init": "boxes have no linear probe: the heads of a detector start at random. Leave it out.",
    },
)
