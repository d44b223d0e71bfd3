"""The parts of an object detector: backbone, neck, encoder, decoder, head; which parameter is of which.

A detector is recognised by its class (transformers' `…ForObjectDetection`, without a text tower) or, in other
libraries, by a child `backbone` next to children that only detectors have. The image backbone is recognised by its
class (a backbone of transformers, a feature network of timm); neck, encoder, decoder and heads by the names that
detectors give them. Models for semantic segmentation have parts too: `segmenter_parts`.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

from thermocline.tuning.layers.heads import base_prefix, is_task_model
from thermocline.tuning.layers.module_names import prefixes
from thermocline.tuning.layers.segmenter_parts import is_segmenter, segmenter_parts
from thermocline.tuning.layers.wrappers import clean_name

#: In the order in which they run.
PARTS = ("backbone", "neck", "encoder", "decoder", "head")

#: A module whose class is called so is a neck, with all that it holds.
_NECK_CLASS = re.compile(r"(Hybrid|Lite)Encoder$|Neck|FPN|FeaturePyramid|Projector$")
_NECK_NAME = re.compile(r"(^|_)(neck|fpn|projector|(input|channel)_proj\w*|lateral\w*|decoder_input_proj)(_|$)")
#: Class, box, mask and order heads, denoising embeddings (they are sized by the classes) and D-FINE's refinement.
_HEAD_NAME = re.compile(
    r"(^|_)(class|classes|cls|score|b?box|mask|order)(_\w+)?_(embed|embeds|head|heads|classifier|predictor)$"
    r"|^(class|b?box)_(embed|head|predictor)$|^(lqe_layers|reg_scale|up)$"
)
#: Children that detectors outside transformers have next to a `backbone`, and other models do not.
_FOREIGN_HEADS = ("rpn", "roi_heads", "bbox_head")
_INNER = ("backbone", "body")


def parts_of(model: nn.Module) -> dict[str, str] | None:
    """Return the part of each parameter, by all of its names, or None for a model without such parts.

    Args:
        model: The model, out of its wrappers.
    """
    if is_segmenter(model):
        return segmenter_parts(model, _backbones(model))
    names = [name for name, _ in model.named_parameters(remove_duplicate=False)]
    if _is_transformers_detector(model):
        prefix = base_prefix(model)
        backbones = _backbones(model) or [prefix]
        return {name: _part(model, name, prefix, backbones) for name in names}
    children = dict(model.named_children())
    if "backbone" not in children:
        return None
    inner = next((key for key in _INNER if key in dict(children["backbone"].named_children())), None)
    heads = [key for key in _FOREIGN_HEADS if key in children]
    if "head" in children and (inner or "neck" in children):
        heads.append("head")
    if not heads:
        return None
    backbone = f"backbone.{inner}" if inner else "backbone"
    return {name: _foreign_part(name, backbone, heads) for name in names}


def head_root(name: str, prefix: str) -> str:
    """Return the name of the head that a parameter belongs to: a module, or the parameter itself.

    Args:
        name: Name of a parameter of the part `head`.
        prefix: The name of the base model within the model.
    """
    above = prefixes(name)
    found = next((one for one in above if _HEAD_NAME.search(one.rpartition(".")[2])), None)
    inside = bool(prefix) and name.startswith(f"{prefix}.")
    return found or above[min(1 if inside else 0, len(above) - 1)]


def built_frozen(model: nn.Module) -> frozenset[str]:
    """Return the names of parameters that the model's own class builds frozen, and that are frozen now.

    A parameter whose `requires_grad` was set since is not among them, nor is one that a plan has frozen since.
    """
    now = {name for name, p in model.named_parameters() if not p.requires_grad}
    config = getattr(model, "config", None)
    if not now or config is None:
        return frozenset()
    try:
        with torch.device("meta"):
            twin = type(model)(offline(copy.deepcopy(config)))
    except Exception:  # a foreign constructor may raise anything; then nothing is known
        return frozenset()
    built = {name for name, p in twin.named_parameters() if not p.requires_grad}
    return frozenset(now & built)


def offline(config: Any) -> Any:
    """Return the config, changed in place so that its backbone does not download weights itself."""
    for one in (config, getattr(config, "backbone_config", None)):
        if one is not None and getattr(one, "use_pretrained_backbone", False):
            one.use_pretrained_backbone = False
    return config


def frozen_norms(model: nn.Module) -> list[str]:
    """Return the names of BatchNorms that the model builds as constants: statistics and scale never change."""
    return [name for name, module in model.named_modules() if "FrozenBatchNorm" in type(module).__name__]


def notes_of(model: nn.Module, frozen: Iterable[str]) -> tuple[str, ...]:
    """Return what a user should know of a detector that freezes parts of itself as it is built.

    Args:
        model: The detector.
        frozen: The names of the parameters that it builds frozen.
    """
    notes = []
    sizes = dict(model.named_parameters())
    count = sum(sizes[name].numel() for name in frozen)
    if count:
        notes.append(f"frozen as the model builds itself: {count} weights; set their requires_grad to unfreeze them")
    norms = frozen_norms(model)
    if norms:
        notes.append(f"{len(norms)} BatchNorms of the backbone are constants as the model builds itself")
    return tuple(notes)


def _is_transformers_detector(model: nn.Module) -> bool:
    config = getattr(model, "config", None)
    named = is_task_model(model) and type(model).__name__.endswith("ForObjectDetection")
    return named and config is not None and getattr(config, "text_config", None) is None


def _backbones(model: nn.Module) -> list[str]:
    """The outermost image backbones: backbone classes of transformers, feature networks of timm."""
    found: list[str] = []
    for name, module in model.named_modules():
        kinds = {kind.__name__ for kind in type(module).__mro__}
        known = "BackboneMixin" in kinds or (hasattr(module, "feature_info") and "PreTrainedModel" not in kinds)
        if name and known and not any(name.startswith(f"{other}.") for other in found):
            found.append(name)
    return found


def _part(model: nn.Module, name: str, prefix: str, backbones: list[str]) -> str:
    if prefix and not name.startswith(f"{prefix}."):
        return "head"
    if any(name.startswith(f"{one}.") for one in backbones):
        return "backbone"
    above = prefixes(name)
    kinds = [type(model.get_submodule(one)).__name__ for one in above[:-1]]
    if any(_NECK_CLASS.search(kind) for kind in kinds):
        return "neck"
    parts = clean_name(name).split(".")
    if any(_HEAD_NAME.search(part) for part in parts):
        return "head"
    inside = parts[1:] if prefix else parts
    if inside[0] in ("encoder", "decoder"):
        return inside[0]
    owner = model.get_submodule(prefix) if prefix else model
    kinds_of_parts = {key for key, _ in owner.named_children()}
    if any(_NECK_NAME.search(part) for part in parts):
        return "neck"
    if inside[0] == "level_embed":
        return "encoder"
    return "decoder" if "decoder" in kinds_of_parts else "neck"


def _foreign_part(name: str, backbone: str, heads: list[str]) -> str:
    first = name.split(".")[0]
    if first in heads:
        return "head"
    if name.startswith(f"{backbone}."):
        return "backbone"
    return first if first in ("encoder", "decoder") else "neck"


def by_part(parts: Mapping[str, str], names: Iterable[str]) -> dict[str, list[str]]:
    """Return names by their part, parts in the order in which they run."""
    out: dict[str, list[str]] = {part: [] for part in PARTS}
    for name in names:
        out[parts[name]].append(name)
    return {part: own for part, own in out.items() if own}
