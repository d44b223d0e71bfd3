"""How a segmenter is built from its options: with a light head of ours, or as a model of transformers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from thermocline.backbones.pretrained import folder_of
from thermocline.errors import ConfigError, first_line
from thermocline.problems.semantic_segmentation.library_build import build_library
from thermocline.problems.semantic_segmentation.light_build import build_light
from thermocline.problems.semantic_segmentation.options import SegmenterOptions
from thermocline.problems.semantic_segmentation.segmenter import Segmenter, SegmenterOrigin
from thermocline.problems.semantic_segmentation.segmenter_source import Sources, find_sources
from thermocline.problems.semantic_segmentation.segmenter_spec import fitting_size

__all__ = ["find_sources", "segmenter_of"]


def segmenter_of(
    options: SegmenterOptions, classes: Sequence[Any], *, size_of_training_images: tuple[int, int]
) -> Segmenter:
    """Build the segmenter that the options ask for; random weights are drawn from torch's generator.

    Args:
        options: The section `model.segmenter`.
        classes: The classes, in the order of the outputs.
        size_of_training_images: Height and width of a usual training image in its own pixels.

    Raises:
        CheckpointError: Pretrained weights cannot be loaded.
        ConfigError: There are no classes, it does not run at this size, or an option does not fit it.
    """
    if not classes:
        raise ConfigError("A segmenter needs at least one class; the masks of the training frame hold none.")
    sources = find_sources(options)
    size = fitting_size(size_of_training_images, longer=options.size)
    segmenter = _light(sources, options, classes, size) if sources.model is None else _library(sources, classes, size)
    _check_runs(segmenter)
    return segmenter


def _light(sources: Sources, options: SegmenterOptions, classes: Sequence[Any], size: tuple[int, int]) -> Segmenter:
    backbone = sources.backbone
    assert backbone is not None
    folder = folder_of(backbone, "model.segmenter.backbone")
    model, described, spec = build_light(backbone, folder, len(classes), size=size, width=options.head_width)
    new = [name for name, _ in model.named_parameters() if not name.startswith("backbone.")]
    fresh = frozenset(new if backbone.pretrained else ())
    return Segmenter(model, spec, classes, SegmenterOrigin(backbone.pretrained, fresh, light=described))


def _library(sources: Sources, classes: Sequence[Any], size: tuple[int, int]) -> Segmenter:
    model, backbone = sources.model, sources.backbone
    assert model is not None
    folder = folder_of(model, "model.segmenter")
    other = None if backbone is None else (backbone, folder_of(backbone, "model.segmenter.backbone"))
    return build_library(model, folder, classes, size, backbone=other)


def _check_runs(segmenter: Segmenter) -> None:
    """Run a grey image through, so that a size that does not fit is an error now.

    Raises:
        ConfigError: The segmenter does not run on images of its size.
    """
    was_training = segmenter.training
    segmenter.eval()
    height, width = segmenter.spec.size
    try:
        with torch.no_grad():
            segmenter(torch.full((1, 3, height, width), 128, dtype=torch.uint8))
    except Exception as error:
        raise ConfigError(
            f"The segmenter does not run on images of {height}×{width} ({type(error).__name__}: "
            f"{first_line(error)}). Leave `model.segmenter.size` at null, or give a multiple of 32."
        ) from error
    segmenter.train(was_training)
