"""An image backbone in place of a detector's own, and what a detector builds frozen, unfrozen.

transformers' detectors replace every BatchNorm of their backbone by one that never changes. Where the BatchNorm of
a timm network has an activation inside (MobileNet, EfficientNet), that activation is lost. So timm builds the network
here, and it replaces the one that the detector built.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from thermocline.backbones.pretrained import Source
from thermocline.backbones.timm_features import architecture_of, timm_network, without_weights
from thermocline.errors import CheckpointError, first_line, listing
from thermocline.tuning.layers.detector_parts import frozen_norms

#: Types whose configuration takes any image backbone.
OPEN_TYPES = (
    "conditional_detr",
    "d_fine",
    "dab-detr",
    "deformable_detr",
    "deimv2",
    "detr",
    "rt_detr",
    "rt_detr_v2",
    "table-transformer",
)
#: Those of them that take one feature map, the coarsest up to stride 32.
_OF_ONE_MAP = ("conditional_detr", "dab-detr", "detr", "table-transformer")
_STRIDES = (8, 16, 32)


@dataclass(frozen=True)
class Backbone:
    """An image backbone, built, with what a detector's configuration says of it.

    Attributes:
        network: The backbone with its weights.
        config: The `backbone_config` of a detector that has it.
        channels: Channels of each of its feature maps.
        mean: Mean of each colour in its pretraining, pixels in 0..1, or empty.
        std: Their standard deviation, or empty.
        pretrained: Whether its weights come from a checkpoint.
        timm: What timm built it from (for `timm_network`), or None for one of transformers'.
    """

    network: nn.Module
    config: dict[str, Any]
    channels: tuple[int, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    pretrained: bool
    timm: dict[str, Any] | None


def load_backbone(source: Source, folder: Path | None, detector_type: str) -> Backbone:
    """Build an image backbone for a detector.

    Args:
        source: Which backbone.
        folder: Its folder, where it is a folder or was downloaded.
        detector_type: The type of detector that gets it.

    Raises:
        CheckpointError: The detector takes no other backbone, or this one gives no maps at the strides it needs.
    """
    if detector_type not in OPEN_TYPES:
        raise CheckpointError(
            f"A {detector_type!r} detector comes with its own backbone and takes no other. Leave "
            f"`model.detector.backbone` at null, or choose one of {listing(OPEN_TYPES, limit=20)}."
        )
    try:
        if source.library == "timm":
            return _timm(source, folder, detector_type)
        return _transformers(source, folder, detector_type)
    except CheckpointError:
        raise
    except Exception as error:
        raise CheckpointError(
            f"{source.name!r} cannot be the backbone of a {detector_type!r} detector ({type(error).__name__}: "
            f"{first_line(error)}). Name a timm model with feature maps, or a folder with one."
        ) from error


def _wanted(reductions: list[int], name: str, detector_type: str) -> list[int]:
    """Return the indices of the maps that a detector takes: strides 8, 16 and 32, or the coarsest up to 32."""
    if detector_type in _OF_ONE_MAP:
        fits = [index for index, stride in enumerate(reductions) if stride <= _STRIDES[-1]]
        return fits[-1:]
    chosen = [max((i for i, stride in enumerate(reductions) if stride == one), default=-1) for one in _STRIDES]
    if -1 in chosen:
        raise CheckpointError(
            f"A {detector_type!r} detector needs maps at strides {list(_STRIDES)}; {name!r} has {reductions}. "
            "Choose a backbone with stages (a ResNet, ConvNeXt, MobileNet), or a 'detr'."
        )
    return chosen


def _timm(source: Source, folder: Path | None, detector_type: str) -> Backbone:
    import timm

    architecture, arguments = architecture_of(source, folder)
    info = without_weights(architecture, arguments).feature_info
    indices = _wanted(list(info.reduction()), source.name, detector_type)
    described = {"architecture": architecture, "out_indices": indices, "arguments": arguments}
    network: Any = timm_network(described, name=f"local-dir:{folder}" if folder else None, pretrained=source.pretrained)
    data = timm.data.resolve_model_data_config(network)
    config = {
        "model_type": "timm_backbone",
        "backbone": architecture.partition(".")[0],
        "features_only": True,
        "out_indices": indices,
        "use_pretrained_backbone": False,
    }
    channels = tuple(network.feature_info.channels())
    return Backbone(
        network,
        config,
        channels,
        tuple(data["mean"]),
        tuple(data["std"]),
        source.pretrained,
        {**described, "still": False},
    )


def _transformers(source: Source, folder: Path | None, detector_type: str) -> Backbone:
    from thermocline.inputs.image.library_backbone import library_backbone

    single = detector_type in _OF_ONE_MAP
    own = library_backbone(source, folder, lambda count: [count - 1] if single else list(range(count - 3, count)))
    channels = tuple(own.network.channels)
    return Backbone(own.network, own.config.to_dict(), channels, own.mean, own.std, source.pretrained, None)


def put_backbone(detector: nn.Module, backbone: Backbone) -> dict[str, Any] | None:
    """Put a backbone into a detector that was built with its configuration.

    Returns:
        What `timm_network` and `place_network` need to build it again, or None where the weights were copied. Its key
        `still` says whether its BatchNorms are constants.
    """
    if backbone.timm is not None:
        constant_norms = bool(frozen_norms(detector))
        place_network(detector, backbone.network, constant_norms=constant_norms)
        return {**backbone.timm, "still": constant_norms}
    target = detector.get_submodule(_name_of_class(detector, type(backbone.network).__name__))
    weights = backbone.network.state_dict()
    target.load_state_dict({name: weights[name] for name in target.state_dict()})
    return None


def place_network(detector: nn.Module, network: nn.Module, *, constant_norms: bool) -> None:
    """Replace a detector's feature network by another of timm.

    Args:
        detector: The detector, changed in place.
        network: The feature network.
        constant_norms: Whether its BatchNorms become constants, as detectors have them.
    """
    from timm.utils.model import freeze_batch_norm_2d

    name = next(
        name
        for name, module in detector.named_modules()
        if hasattr(module, "feature_info") and not hasattr(module, "_backbone")
    )
    detector.set_submodule(name, freeze_batch_norm_2d(network) if constant_norms else network)


def _name_of_class(detector: nn.Module, kind: str) -> str:
    """Return the name of the first module whose class has this name."""
    return str(next(name for name, module in detector.named_modules() if type(module).__name__ == kind))


def unfreeze_built_frozen(detector: nn.Module) -> tuple[str, ...]:
    """Unfreeze in place what a detector freezes as it is built, and return a note on each kind of it.

    Constants in place of BatchNorms become BatchNorms of the same values; weights of the backbone that do not
    require gradients do so. Numbers that D-FINE keeps among its parameters stay constants.
    """
    from timm.utils.model import unfreeze_batch_norm_2d

    names = frozen_norms(detector)
    for name in names:
        module = detector.get_submodule(name)
        of_timm = "Act" in type(module).__name__ or type(module).__module__.startswith("timm.")
        detector.set_submodule(name, unfreeze_batch_norm_2d(module) if of_timm else _batch_norm(module))
    frozen = [p for p in detector.parameters() if not p.requires_grad and p.numel() > 1]
    for parameter in frozen:
        parameter.requires_grad = True
    notes = [f"{len(names)} BatchNorms that the detector builds as constants train"] if names else []
    count = sum(p.numel() for p in frozen)
    return (*notes, f"{count} weights that the detector builds frozen train") if count else tuple(notes)


def _batch_norm(module: Any) -> nn.BatchNorm2d:
    """Return a BatchNorm with the values of a constant one."""
    norm = nn.BatchNorm2d(len(module.weight), eps=float(getattr(module, "eps", 1e-5)))
    with torch.no_grad():
        for key in ("weight", "bias", "running_mean", "running_var"):
            getattr(norm, key).copy_(getattr(module, key))
    return norm.train(module.training)
