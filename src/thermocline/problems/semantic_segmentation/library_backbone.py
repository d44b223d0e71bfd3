"""An image backbone in place of the own one of UperNet (Xiao et al., ECCV 2018)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from thermocline.backbones.pretrained import Source
from thermocline.backbones.timm_features import architecture_of, timm_network, without_weights
from thermocline.errors import CheckpointError, first_line
from thermocline.inputs.image.library_backbone import library_backbone

_FINEST = 4


@dataclass(frozen=True)
class OpenBackbone:
    """An image backbone, built, with what a segmenter's configuration says of it.

    Attributes:
        network: The backbone with its weights.
        config: The `backbone_config` of a segmenter that has it.
        mean: Mean of each colour in its pretraining, pixels in 0..1, or empty.
        std: Their standard deviation, or empty.
        pretrained: Whether its weights come from a checkpoint.
        timm: What timm built it from, or None for one of transformers'.
    """

    network: nn.Module
    config: Any
    mean: tuple[float, ...]
    std: tuple[float, ...]
    pretrained: bool
    timm: dict[str, Any] | None


def open_backbone(source: Source, folder: Path | None) -> OpenBackbone:
    """Build a backbone with maps of several strides.

    Args:
        source: Which backbone.
        folder: Its folder, where it is a folder or was downloaded.

    Raises:
        CheckpointError: It gives no such maps, or its weights do not fit.
    """
    try:
        return _timm(source, folder) if source.library == "timm" else _transformers(source, folder)
    except CheckpointError:
        raise
    except Exception as error:
        raise CheckpointError(
            f"{source.name!r} cannot be the backbone of a segmenter ({type(error).__name__}: {first_line(error)}). "
            "Name a timm model with feature maps, or a folder with one."
        ) from error


def put_network(model: nn.Module, backbone: OpenBackbone) -> None:
    """Put a backbone with its weights into a segmenter that was built with its configuration."""
    if backbone.timm is not None:
        place_network(model, backbone.network)
    else:
        model.get_submodule("backbone").load_state_dict(backbone.network.state_dict())


def place_network(model: nn.Module, network: nn.Module) -> None:
    """Replace the feature network of timm in a segmenter by another."""
    model.set_submodule("backbone._backbone", network)


def rebuild_network(described: Mapping[str, Any]) -> nn.Module:
    """Build the feature network that a segmenter was saved with, with random weights."""
    return timm_network(described)


def _timm(source: Source, folder: Path | None) -> OpenBackbone:
    import timm
    from transformers import TimmBackboneConfig

    architecture, arguments = architecture_of(source, folder)
    reductions = list(without_weights(architecture, arguments).feature_info.reduction())
    indices = [index for index, stride in enumerate(reductions) if stride >= _FINEST]
    if len(set(reductions)) < 2:
        raise CheckpointError(
            f"'upernet' needs maps of several strides; {source.name!r} has {reductions}. Choose a backbone with stages "
            "(a ResNet, ConvNeXt, MobileNet), or model.segmenter.checkpoint='light'."
        )
    described = {"architecture": architecture, "out_indices": indices, "arguments": arguments}
    name = f"local-dir:{folder}" if folder else source.location
    network: Any = timm_network(described, name=name, pretrained=source.pretrained)
    data = timm.data.resolve_model_data_config(network)
    config = TimmBackboneConfig(
        backbone=architecture.partition(".")[0], out_indices=indices, features_only=True, use_pretrained_backbone=False
    )
    return OpenBackbone(network, config, tuple(data["mean"]), tuple(data["std"]), source.pretrained, described)


def _transformers(source: Source, folder: Path | None) -> OpenBackbone:
    own = library_backbone(source, folder, lambda count: list(range(1, count)) if count > 4 else list(range(count)))
    return OpenBackbone(own.network, own.config, own.mean, own.std, source.pretrained, None)
