"""How a light segmenter is built: its backbone from a folder, the hub or by name, or again for saved weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from thermocline.backbones.pretrained import Source, unreachable
from thermocline.backbones.timm_features import architecture_of, timm_network, without_weights
from thermocline.errors import CheckpointError, first_line
from thermocline.problems.semantic_segmentation.light_head import LightSegmenter, LightShape
from thermocline.problems.semantic_segmentation.segmenter_spec import SegmentationSpec

FIELD = "model.segmenter.backbone"
_FINEST = 4
_FINEST_OF_SMALL = 2
_SMALL = 128  # pixels of the longer side up to which the finest maps of stride 2 are used
_LEVELS = 4  # of a backbone whose maps have one stride


@dataclass(frozen=True)
class _Fitted:
    """A feature network that takes images of a size, on shapes alone.

    Attributes:
        arguments: What timm builds it with.
        indices: timm's numbers of its maps.
        reductions: The stride of each of its maps.
        channels: The channels of each.
        last: Whether channels come last.
    """

    arguments: dict[str, Any]
    indices: tuple[int, ...]
    reductions: tuple[int, ...]
    channels: tuple[int, ...]
    last: bool


def build_light(
    source: Source, folder: Path | None, classes: int, *, size: tuple[int, int], width: int
) -> tuple[LightSegmenter, dict[str, Any], SegmentationSpec]:
    """Build a light segmenter on a backbone with its pretrained weights, or random ones.

    Args:
        source: Which backbone (`find_image`).
        folder: Its folder, where it is a folder or was downloaded.
        classes: How many classes there are.
        size: Height and width of the images in pixels.
        width: Channels of neck and head.

    Returns:
        The model, what `rebuild_light` needs, and its preprocessing.

    Raises:
        CheckpointError: It is no backbone of timm with feature maps, does not take this size, or its weights do not
            fit.
    """
    import timm

    if source.library != "timm":
        raise CheckpointError(
            f"{source.name!r} is a model of transformers; the light head takes image backbones of timm. Name a timm "
            f"model or folder as {FIELD}, or a segmentation model as model.segmenter.checkpoint."
        )
    described = _described(source, folder, size, width)
    name = f"local-dir:{folder}" if folder else source.location
    try:
        network: Any = timm_network(described, name=name, pretrained=source.pretrained)
    except (OSError, ConnectionError) as error:
        raise unreachable(source.name, FIELD, error) from None
    except Exception as error:
        raise CheckpointError(
            f"timm cannot build {source.name!r} ({type(error).__name__}: {first_line(error)}). "
            "Check that the weights are whole and fit the architecture."
        ) from error
    data = timm.data.resolve_model_data_config(network)
    spec = SegmentationSpec(size, tuple(data["mean"]), tuple(data["std"]))
    return LightSegmenter(network, _shape(described), classes), described, spec


def rebuild_light(described: Mapping[str, Any], classes: int) -> LightSegmenter:
    """Build the modules of a saved light segmenter; the weights are loaded by the caller."""
    return LightSegmenter(timm_network(described), _shape(described), classes)


def _described(source: Source, folder: Path | None, size: tuple[int, int], width: int) -> dict[str, Any]:
    """Return what the segmenter is built from, as plain data."""
    architecture, arguments = architecture_of(source, folder)
    try:
        fitted = _fitted(architecture, arguments, size)
    except Exception as error:
        raise CheckpointError(
            f"{source.name!r} cannot be the backbone of a segmenter for images of {size[0]}×{size[1]} "
            f"({type(error).__name__}: {first_line(error)}). Set model.segmenter.size to a multiple of 32, or choose a "
            "timm model with feature maps, such as a ResNet, ConvNeXt or MobileNet."
        ) from error
    finest = _FINEST_OF_SMALL if max(size) <= _SMALL else _FINEST
    kept, targets = _levels(fitted.reductions, finest)
    return {
        "architecture": architecture,
        "arguments": fitted.arguments,
        "out_indices": [fitted.indices[level] for level in kept],
        "channels": [fitted.channels[level] for level in kept],
        "strides": [fitted.reductions[level] for level in kept],
        "targets": targets,
        "width": width,
        "last": fitted.last,
    }


def _fitted(architecture: str, arguments: dict[str, Any], size: tuple[int, int]) -> _Fitted:
    """Return the arguments with which the backbone takes images of this size, found on shapes alone.

    Args:
        architecture: timm's name.
        arguments: Those that its folder was saved with.
        size: Height and width in pixels.

    Raises:
        Exception: Whatever timm raises, where it takes no images of this size.
    """
    own = {key: value for key, value in arguments.items() if key != "img_size"}
    for given in (own, {**own, "img_size": list(size)}):
        try:
            return _tried(architecture, given, size)
        except Exception as error:
            failure = error
    raise failure


def _tried(architecture: str, arguments: dict[str, Any], size: tuple[int, int]) -> _Fitted:
    network = without_weights(architecture, arguments)
    indices = list(network.feature_info.out_indices)
    if len(set(network.feature_info.reduction())) == 1:  # by default timm gives the last maps only
        every = len(network.feature_info.info)
        indices = sorted({max(0, every * (level + 1) // _LEVELS - 1) for level in range(_LEVELS)})
        with torch.device("meta"):
            network = timm_network({"architecture": architecture, "out_indices": indices, "arguments": arguments})
    last = str(getattr(network, "output_fmt", "NCHW")).endswith("NHWC")
    maps = network.eval()(torch.empty(1, 3, *size, device="meta"))
    channels = tuple(int(one.shape[3 if last else 1]) for one in maps)
    return _Fitted(arguments, tuple(indices), tuple(network.feature_info.reduction()), channels, last)


def _levels(reductions: Sequence[int], finest: int) -> tuple[list[int], list[int]]:
    """Return which maps are used, and the stride that each is brought to.

    Maps finer than `finest` are left out, and of two with one stride the earlier. Where all have one stride, all are
    used, and the first ones are brought to finer strides.
    """
    stride, count = reductions[0], len(reductions)
    if count > 1 and set(reductions) == {stride}:
        return list(range(count)), [max(1, stride // 2 ** max(0, _LEVELS - 2 - level)) for level in range(count)]
    last = {stride: level for level, stride in enumerate(reductions) if stride >= finest}
    kept = sorted(last.values()) or [count - 1]
    return kept, [reductions[level] for level in kept]


def _shape(described: Mapping[str, Any]) -> LightShape:
    return LightShape(
        tuple(described["channels"]),
        tuple(described["strides"]),
        tuple(described["targets"]),
        int(described["width"]),
        bool(described["last"]),
    )
