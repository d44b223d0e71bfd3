"""How a segmentation model of transformers is built at a size that fits the training images."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from thermocline.backbones.library_settings import correct_settings
from thermocline.backbones.pretrained import Source
from thermocline.errors import ConfigError, first_line
from thermocline.inputs.image.preprocessor import RESAMPLING, read_preprocessor
from thermocline.problems.semantic_segmentation.library_backbone import OpenBackbone, open_backbone, put_network
from thermocline.problems.semantic_segmentation.library_config import own_config, set_classes
from thermocline.problems.semantic_segmentation.library_weights import load_model, random_model
from thermocline.problems.semantic_segmentation.segmenter import Segmenter, SegmenterOrigin
from thermocline.problems.semantic_segmentation.segmenter_spec import SegmentationSpec

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_KEYS = ("image_mean", "image_std", "do_normalize", "resample", "do_flip_channel_order")


def build_library(
    source: Source,
    folder: Path | None,
    classes: Sequence[Any],
    size: tuple[int, int],
    *,
    backbone: tuple[Source, Path | None] | None = None,
) -> Segmenter:
    """Build a segmentation model of transformers with the weights of its checkpoint, or random ones.

    Args:
        source: Which segmenter.
        folder: Its folder, where it is a folder or was downloaded.
        classes: The classes.
        size: Height and width of the images in pixels.
        backbone: An image backbone in place of its own, and its folder; for a segmenter of random weights.

    Raises:
        CheckpointError: The weights do not fit the configuration, or it is no model for semantic segmentation.
        ConfigError: It does not run at this size, or takes no other backbone.
    """
    config = own_config(source, folder)
    other = None
    if backbone is not None:
        other = _other(source, config, *backbone)
        config.backbone_config = other.config
    pretrained = source.pretrained and folder is not None
    config, fitted = _fitted(config, size, source.name, pretrained=pretrained)
    spec = _spec(config.model_type, folder, fitted, other)
    notes: tuple[str, ...] = ()
    if fitted != size:
        notes = (f"images are squashed to {fitted[0]}×{fitted[1]}: the model takes none of {size[0]}×{size[1]}",)
    if pretrained:
        assert folder is not None
        model, fresh, replaced = load_model(source, folder, config, classes)
        notes = (*notes, *replaced)
    else:
        set_classes(config, classes)
        model, fresh = random_model(source, config), frozenset()
    network = None if other is None else other.timm
    if other is not None:
        put_network(model, other)
        pretrained = other.pretrained
        inside = tuple(name for name, _ in model.named_parameters() if not name.startswith("backbone."))
        fresh = frozenset(inside if pretrained else ())
    notes = (*notes, *correct_settings(model))
    origin = SegmenterOrigin(pretrained, fresh, network=network, notes=notes)
    return Segmenter(model.float(), spec, classes, origin)


def _other(source: Source, config: Any, backbone: Source, folder: Path | None) -> OpenBackbone:
    """Build the backbone in place of the segmenter's own."""
    if source.pretrained:
        raise ConfigError(
            "A pretrained segmenter comes with its own backbone. Leave model.segmenter.backbone at null, or set "
            "model.segmenter.pretrained=false to build a segmenter of random weights on it."
        )
    if config.model_type != "upernet":
        raise ConfigError(
            f"A {config.model_type!r} segmenter comes with its own backbone and takes no other. Leave "
            "model.segmenter.backbone at null, or choose 'upernet' or 'light' as model.segmenter.checkpoint."
        )
    return open_backbone(backbone, folder)


def _fitted(config: Any, size: tuple[int, int], name: str, *, pretrained: bool) -> tuple[Any, tuple[int, int]]:
    """Return the configuration and the size of images at which the model runs, tried on shapes alone.

    Tried are: the size that was asked for; the same with a random model built for it; and a square.

    Raises:
        ConfigError: It runs at none of them.
        CheckpointError: It cannot be built.
    """
    failure: Exception | None = None
    for candidate, side in _candidates(config, size, pretrained=pretrained):
        try:
            _run_on_shapes(candidate, side)
        except Exception as error:
            failure = failure or error
        else:
            return candidate, side
    assert failure is not None
    raise ConfigError(
        f"The segmenter {name!r} does not run on images of {size[0]}×{size[1]} ({type(failure).__name__}: "
        f"{first_line(failure)}). Leave model.segmenter.size at null, or give a multiple of 32."
    ) from failure


def _candidates(config: Any, size: tuple[int, int], *, pretrained: bool) -> Iterator[tuple[Any, tuple[int, int]]]:
    own = getattr(config, "image_size", None)
    square = (max(size), max(size))
    if own is not None and not pretrained:
        for side, told in ((size, list(size)), (square, square[0])):
            other = copy.deepcopy(config)
            other.image_size = told
            yield other, side
    yield config, size
    if own is not None:
        sides = (own, own) if isinstance(own, int) else tuple(own)
        yield config, (int(sides[0]), int(sides[1]))


def _run_on_shapes(config: Any, size: tuple[int, int]) -> None:
    from transformers.models.auto.modeling_auto import MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING

    kind = MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING[type(config)]
    with torch.device("meta"), torch.no_grad():
        kind(copy.deepcopy(config)).eval()(pixel_values=torch.empty(1, 3, *size))


def _spec(model_type: str, folder: Path | None, size: tuple[int, int], other: OpenBackbone | None) -> SegmentationSpec:
    """Return the preprocessing of the checkpoint, of the backbone that was put in, or of the family."""
    import transformers
    from transformers.models.auto.image_processing_auto import IMAGE_PROCESSOR_MAPPING_NAMES

    own = read_preprocessor(folder)
    table = IMAGE_PROCESSOR_MAPPING_NAMES.get(model_type) or {}
    kind = getattr(transformers, table.get("torchvision", "") or "-", None)
    found = {key: getattr(kind, key, None) for key in _KEYS} | {key: own[key] for key in _KEYS if key in own}
    mean, std = tuple(found["image_mean"] or _MEAN), tuple(found["image_std"] or _STD)
    if found["do_normalize"] is False or (kind is not None and not own and found["do_normalize"] is None):
        mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    if other is not None and other.mean:
        mean, std = other.mean, other.std
    resample = RESAMPLING.get(int(found["resample"] if found["resample"] is not None else 2), "bilinear")
    return SegmentationSpec(size, mean, std, resample, flipped=bool(found["do_flip_channel_order"]))
