"""The light record of semantic segmentation, importable without torch."""

from __future__ import annotations

from thermocline.problems.semantic_segmentation.mask_options import MaskOptions
from thermocline.problems.semantic_segmentation.options import SegmenterOptions
from thermocline.registry import ProblemInfo
from thermocline.registry.metrics import MetricInfo

_TYPES = ("semantic_segmentation",)
_METRICS: dict[str, tuple[str, ...]] = {
    "mean_iou": ("miou", "iou", "jaccard", "jaccard_index"),
    "pixel_accuracy": ("pixel_acc",),
    "mean_pixel_accuracy": ("mean_accuracy", "macc"),
    "mean_dice": ("dice", "mdice"),
}
_LOSS = "it is not for segmenters, which learn by the cross entropy of pixels. Leave it out."

INFO = ProblemInfo(
    name="semantic_segmentation",
    implementation="thermocline.problems.semantic_segmentation.problem:SemanticSegmentation",
    problem_types=_TYPES,
    metrics=tuple(
        MetricInfo(name, greater_is_better=True, problem_types=_TYPES, aliases=aliases)
        for name, aliases in _METRICS.items()
    ),
    default_metric={"semantic_segmentation": "mean_iou"},
    usual_metrics={"semantic_segmentation": ("mean_iou", "pixel_accuracy", "mean_dice")},
    preset="segmentation_medium",
    type_aliases={"segmentation": "semantic_segmentation"},
    options={"model.segmenter": SegmenterOptions, "data": MaskOptions},
    reads=frozenset({"data.image_folder", "data.max_unreadable_images", "env.cache_images", "env.compile"}),
    unread={
        "model.peft": "it is for text and image backbones, not for segmenters. Leave it out, and freeze layers "
        "instead: model.frozen_layers: backbone.",
        "optim.loss": _LOSS,
        "optim.class_weights": "it weighs rows, and a mask has pixels of several classes. Set "
        "model.segmenter.class_balance instead.",
        "optim.label_smoothing": _LOSS,
        "optim.head_init": "pixels have no linear probe: the head of a segmenter starts at random. Leave it out.",
    },
)
