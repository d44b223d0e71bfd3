"""How a detector is built: from a checkpoint, from its configuration alone, or again for saved weights."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from thermocline.backbones.library_settings import quiet_transformers
from thermocline.backbones.pretrained import Source
from thermocline.errors import CheckpointError, ConfigError, first_line, listing
from thermocline.problems.object_detection.box_spec import DetectionSpec
from thermocline.problems.object_detection.detector import Building, Detector
from thermocline.problems.object_detection.detector_backbone import (
    Backbone,
    frozen_norms,
    load_backbone,
    place_network,
    put_backbone,
    thaw,
    timm_network,
)
from thermocline.problems.object_detection.detector_source import architecture
from thermocline.problems.object_detection.detector_spec import spec_of


@dataclass(frozen=True)
class DetectorSettings:
    """What is asked of a detector beside its checkpoint and classes.

    Attributes:
        size: Pixels a side, or None for the checkpoint's own.
        queries: Boxes that it can predict an image, or None for the checkpoint's own.
        thaw: Let train what the detector freezes as it is built.
    """

    size: int | None = None
    queries: int | None = None
    thaw: bool = False


def build_detector(
    source: Source,
    folder: Path | None,
    classes: Sequence[str],
    options: DetectorSettings = DetectorSettings(),
    *,
    backbone: Source | None = None,
    backbone_folder: Path | None = None,
) -> Detector:
    """Build a detector with the weights of its checkpoint, or random ones where that was asked for.

    Its class heads are those of the checkpoint only where the classes are the same, in the same order; else they
    (and nothing else) start at random.

    Args:
        source: What the detector's name stands for (`find_detector`).
        folder: Where it lies, for a folder or a fetched checkpoint.
        classes: The names of the classes.
        options: What else is asked of it.
        backbone: An image backbone to be put under a random detector (`find_image`).
        backbone_folder: Where that lies.

    Raises:
        CheckpointError: The weights do not fit the configuration, or it is no detector.
        ConfigError: There are no classes, or the detector does not run at this size.
    """
    if not classes:
        raise ConfigError("A detector needs at least one class; the training frame has no boxes.")
    config, saved = _config(source, folder, classes, options)
    spec, processor = spec_of(config.model_type, folder, size=options.size, masked=_takes_mask(config))
    under = None if backbone is None else _under(backbone, backbone_folder, source, config)
    with quiet_transformers():
        if source.pretrained:
            model, fresh = _load(source, folder, config, same=saved == tuple(classes))
        else:
            model, fresh = _random(source, config), frozenset()
    building, notes = Building(), ["losses after every decoder layer are on"] if _aux(config) else []
    if under is not None:
        building = replace(building, timm=put_backbone(model, under))
        if under.mean:
            spec = replace(spec, mean=_three(under.mean), std=_three(under.std))
        fresh = frozenset(name for name, _ in model.named_parameters()) - _inside_backbone(model)
    learned = source.pretrained or (under is not None and under.pretrained)
    if options.thaw or (not learned and (frozen_norms(model) or not all(p.requires_grad for p in model.parameters()))):
        notes += list(thaw(model))
        building = replace(building, thawed=True)
    if not learned:
        fresh = frozenset()
    detector = Detector(
        model.float(),
        spec,
        classes,
        processor=processor,
        pretrained=learned,
        fresh=fresh,
        building=building,
    )
    detector.notes = tuple(notes)
    _try_out(detector, source.name)
    return detector


def describe_detector(detector: Detector) -> dict[str, Any]:
    """Return what `rebuild_detector` needs, as plain data for JSON."""
    config: Any = detector.model.config
    return {
        "config": config.to_dict(),
        "spec": detector.spec.to_dict(),
        "processor": detector.processor,
        "classes": list(detector.classes),
        "pretrained": detector.pretrained,
        "fresh": sorted(detector.fresh),
        "timm": detector.building.timm,
        "thawed": detector.building.thawed,
        "notes": list(detector.notes),
    }


def rebuild_detector(data: Mapping[str, Any]) -> Detector:
    """Build a saved detector's modules; the weights are loaded by the caller."""
    from transformers import CONFIG_MAPPING, AutoModelForObjectDetection

    config = CONFIG_MAPPING[data["config"]["model_type"]].from_dict(copy.deepcopy(dict(data["config"])))
    building = Building(data["timm"], data["thawed"])
    with quiet_transformers():
        model = AutoModelForObjectDetection.from_config(_offline(config))
    if building.timm is not None:
        place_network(model, timm_network(building.timm), still=building.timm["still"])
    if building.thawed:
        thaw(model)
    detector = Detector(
        model.float(),
        DetectionSpec.from_dict(data["spec"]),
        data["classes"],
        processor=data["processor"],
        pretrained=data["pretrained"],
        fresh=frozenset(data["fresh"]),
        building=building,
    )
    detector.notes = tuple(data["notes"])
    return detector


def class_dependent(model: nn.Module) -> frozenset[str]:
    """Return the names of parameters (tied ones under each of their names) whose shape goes by the classes."""
    config: Any = copy.deepcopy(model.config)
    config.num_labels = int(config.num_labels) + 1
    with torch.device("meta"):
        wider = type(model)(_offline(config))
    shapes = {name: p.shape for name, p in wider.named_parameters(remove_duplicate=False)}
    own = model.named_parameters(remove_duplicate=False)
    return frozenset(name for name, p in own if shapes.get(name, p.shape) != p.shape)


def _config(
    source: Source, folder: Path | None, classes: Sequence[str], options: DetectorSettings
) -> tuple[Any, tuple[str, ...]]:
    """The configuration for these classes, and the classes that the checkpoint has."""
    from transformers import CONFIG_MAPPING, AutoConfig
    from transformers.models.auto.modeling_auto import MODEL_FOR_OBJECT_DETECTION_MAPPING_NAMES as KNOWN

    if source.kind == "architecture":
        kind, settings = architecture(source)
        config = CONFIG_MAPPING[kind](**settings)
    else:
        with quiet_transformers():
            try:
                config = AutoConfig.from_pretrained(str(folder), trust_remote_code=False)
            except Exception as error:
                raise _unreadable(source, error) from error
    if config.model_type not in KNOWN:
        raise CheckpointError(
            f"{source.name!r} is of type {config.model_type!r}, which is no object detector. Types are "
            f"{listing(KNOWN, limit=30)}."
        )
    saved = tuple((config.id2label or {}).values())
    config.id2label = dict(enumerate(map(str, classes)))
    config.label2id = {name: number for number, name in config.id2label.items()}
    if hasattr(config, "auxiliary_loss") and hasattr(
        config, "decoder_layers"
    ):  # every paper of the family trains so; some checkpoints say otherwise
        config.auxiliary_loss = True
    if options.queries is not None:
        _ask_for_queries(config, source, options.queries)
    return _offline(config), saved


def _ask_for_queries(config: Any, source: Source, queries: int) -> None:
    key = next((key for key in ("num_queries", "num_detection_tokens") if hasattr(config, key)), None)
    if key is None:
        raise ConfigError(f"A {config.model_type!r} detector has no queries; leave model.detector.queries at null.")
    own = getattr(config, key)
    learned = config.model_type not in ("rt_detr", "rt_detr_v2", "d_fine", "deimv2")  # those pick theirs by score
    if source.pretrained and learned and queries != own:
        raise ConfigError(
            f"{source.name!r} has learned {own} queries, so model.detector.queries cannot be {queries}. Leave it at "
            "null, or train from random weights."
        )
    setattr(config, key, queries)


def _offline(config: Any) -> Any:
    """The config, whose backbone is not to be fetched: its weights are in the checkpoint, or put in later."""
    for one in (config, getattr(config, "backbone_config", None)):
        if one is not None and getattr(one, "use_pretrained_backbone", False):
            one.use_pretrained_backbone = False
    return config


def _takes_mask(config: Any) -> bool:
    from transformers.models.auto.modeling_auto import MODEL_FOR_OBJECT_DETECTION_MAPPING

    return "pixel_mask" in inspect.signature(MODEL_FOR_OBJECT_DETECTION_MAPPING[type(config)].forward).parameters


def _three(values: Sequence[float]) -> tuple[float, float, float]:
    first, second, third = values
    return first, second, third


def _aux(config: Any) -> bool:
    return bool(getattr(config, "auxiliary_loss", False))


def _under(backbone: Source, folder: Path | None, source: Source, config: Any) -> Backbone:
    """Build the backbone and write it into the detector's configuration."""
    from transformers import CONFIG_MAPPING

    if source.pretrained:
        raise ConfigError(
            "A pretrained detector comes with its own backbone. Leave model.detector.backbone at null, or set "
            "model.detector.pretrained=false to put it under a fresh detector."
        )
    built = load_backbone(backbone, folder, config.model_type)
    settings = dict(built.config)
    config.backbone_config = CONFIG_MAPPING[settings.pop("model_type")](**settings)
    if hasattr(config, "encoder_in_channels"):
        config.encoder_in_channels = list(built.channels)
    return built


def _random(source: Source, config: Any) -> nn.Module:
    from transformers import AutoModelForObjectDetection

    try:
        model: nn.Module = AutoModelForObjectDetection.from_config(config)
    except Exception as error:
        raise _unreadable(source, error) from error
    return model


def _load(source: Source, folder: Path | None, config: Any, *, same: bool) -> tuple[nn.Module, frozenset[str]]:
    """Load weights; all but the class heads must be there. These are kept where the classes are the `same`."""
    from transformers import AutoModelForObjectDetection

    try:
        model, info = AutoModelForObjectDetection.from_pretrained(
            str(folder),
            config=config,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            dtype=torch.float32,
            trust_remote_code=False,
        )
    except Exception as error:
        raise _unreadable(source, error) from error
    heads = class_dependent(model)
    names = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    lost = {key for key in info["missing_keys"] if key in names}
    lost |= {key if isinstance(key, str) else key[0] for key in info.get("mismatched_keys", ())}
    wrong = sorted(lost - heads)
    if wrong:
        raise CheckpointError(
            f"The weights of {source.name!r} do not fit its configuration: {len(wrong)} of {len(names)} parameters "
            f"are missing or have another shape (first: {wrong[:3]}). They would have been random."
        )
    if same and not lost:
        return model, frozenset()
    _start_afresh(model, heads, config)
    first = {id(p): name for name, p in reversed(list(model.named_parameters()))}
    return model, frozenset(first[id(p)] for name, p in model.named_parameters() if name in heads)


@torch.no_grad()
def _start_afresh(model: nn.Module, names: frozenset[str], config: Any) -> None:
    """Give parameters the values that the model's own class starts from (class biases have a prior)."""
    twin = type(model)(config)
    start = dict(twin.named_parameters(remove_duplicate=False))
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if name in names:
            parameter.copy_(start[name])


def _inside_backbone(model: nn.Module) -> frozenset[str]:
    """The names of the parameters of the image backbone that was put in."""
    for name, module in model.named_modules():
        kinds = {kind.__name__ for kind in type(module).__mro__}
        if name and ("BackboneMixin" in kinds or hasattr(module, "feature_info")):
            return frozenset(n for n, _ in module.named_parameters(prefix=name))
    return frozenset()


def _unreadable(source: Source, error: BaseException) -> CheckpointError:
    return CheckpointError(
        f"The detector {source.name!r} cannot be built by transformers ({type(error).__name__}: "
        f"{first_line(error)}). Check that the folder is whole and that its model_type is one that "
        "AutoModelForObjectDetection knows."
    )


def _try_out(detector: Detector, name: str) -> None:
    """Run a grey image through, so that a size that does not fit is known now."""
    was_training = detector.training
    detector.eval()
    side = detector.spec.outer(np.array([detector.spec.inner(96, 96)]))
    try:
        with torch.no_grad():
            detector({"pixels": torch.full((1, 3, *side), 128, dtype=torch.uint8)})
    except Exception as error:
        raise ConfigError(
            f"The detector {name!r} does not run on images of {side[0]}×{side[1]} ({type(error).__name__}: "
            f"{first_line(error)}). Leave `model.detector.size` at null, or give a multiple of 32; "
            "where queries are picked from the image, ask for fewer of them at a small size (`model.detector.queries`)."
        ) from error
    detector.train(was_training)
