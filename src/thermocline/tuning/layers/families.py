"""What is known about families of models and cannot be read off their structure: a table, as data.

Every row has a reason. A row is looked up by `config.model_type` (transformers) or by the class name
(anything else); patterns are the segment globs of `thermocline.tuning.layers.patterns`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from torch import nn

#: Attribute names under which wrappers keep the real module; they are no part of a layer's name.
WRAPPER_SEGMENTS = frozenset({"base_layer", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})
#: Paths to the model inside a wrapper around the whole: torch.compile, DDP and DataParallel, PEFT.
WRAPPER_PATHS = ("_orig_mod", "module", "base_model.model", "_fsdp_wrapped_module")

#: Leaf names of parameters that feed the blocks from outside, wherever in the module they were defined.
EMBEDDING_LIKE = re.compile(
    r"(^|[._])(\w*embed\w*|wte|wpe|rel_pos\w*|pos_bias\w*|position\w*|relative_attention_bias|cls_token"
    r"|class_token|dist_token|mask_token|per_layer_\w+)([._]|$)"
)
#: Norms that run after the last block although some models define them before the stack (OPT, PvT).
FINAL_NORM = re.compile(r"(^|\.)(final_layer_?norm|final_norm|ln_f|norm_f|post_layernorm|last_layer_norm)(\.|$)")
#: Siblings with numbers that run side by side, not one after another.
PARALLEL = re.compile(r"(^|_)(branch|branches|path|expert)\d*$")
#: Children that are towers of their own when a model has two or more of them.
TOWER_SEGMENT = re.compile(
    r"^(vision|text|language|audio|speech|visual|image|video|qformer|vit|prompt|mask)"
    r"(_?(model|tower|encoder|decoder|backbone|branch))?$|^(visual|qformer|t2u_model|vocoder)$"
)


@dataclass(frozen=True)
class Family:
    """One exception: how a family's layers differ from what structure says."""

    reason: str
    #: Patterns of the blocks, in order, in place of the structural search.
    blocks: tuple[str, ...] = ()
    #: Parameters (by module pattern) that belong to the stem although they stand elsewhere.
    stem: tuple[str, ...] = ()
    #: Parameters that run after the last block although they stand elsewhere.
    last: tuple[str, ...] = ()
    #: Stages of timm's matcher that must stay whole, because what is inside runs in parallel.
    whole_stages: bool = False
    #: Submodules that are towers of their own.
    towers: tuple[str, ...] = ()
    #: What is found is known to be wrong somewhere: the map is not to be trusted.
    doubtful: bool = False


FAMILIES: dict[str, Family] = {
    "albert": Family(
        "all blocks share the parameters of one group: one layer, however often it runs",
        blocks=("**.albert_layer_groups.*.albert_layers.*",),
    ),
    "opt": Family("project_out is defined before the stack and runs after it", last=("**.project_out",)),
    "xlnet": Family("mask_emb and r_*_bias feed every block", stem=("**.mask_emb",)),
    "gemma3n_text": Family(
        "per-layer inputs and AltUp projections are made before the first block",
        stem=("**.altup_projections", "**.embed_tokens_per_layer"),
    ),
    "funnel": Family(
        "blocks of the encoder are ModuleLists of layers in a ModuleList",
        blocks=("**.encoder.blocks.*.*", "**.decoder.layers.*"),
    ),
    "HighResolutionNet": Family("branches of a stage run side by side", whole_stages=True),
    "HighResolutionNetFeatures": Family("branches of a stage run side by side", whole_stages=True),
}


FAMILIES |= dict.fromkeys(
    ("glm4v", "glm46v", "glmga"),
    Family("the vision tower's post_conv_layernorm is defined after its blocks", stem=("**.post_conv_layernorm",)),
)
_PARTS_INSIDE_PARTS = Family("models inside models, of which no forward pass was seen to run all", doubtful=True)
FAMILIES |= dict.fromkeys(
    (
        "lightglue",
        "pe_audio",
        "pe_audio_encoder",
        "pe_audio_video",
        "pe_audio_video_encoder",
        "pe_video",
        "vibevoice_acoustic_tokenizer",
        "xcodec",
    ),
    _PARTS_INSIDE_PARTS,
)


def family_of(model: nn.Module) -> Family | None:
    """Return the row of the table for this model, if it has one."""
    model_type = getattr(getattr(model, "config", None), "model_type", None)
    for key in (model_type, type(model).__name__):
        if isinstance(key, str) and key in FAMILIES:
            return FAMILIES[key]
    return None


def clean_name(name: str) -> str:
    """Return a module or parameter name without the segments that wrappers put in."""
    return ".".join(part for part in name.split(".") if part not in WRAPPER_SEGMENTS)


def unwrap(model: nn.Module) -> tuple[nn.Module, str]:
    """Return the model inside its wrappers and the path to it (`""` where there is none)."""
    prefix = ""
    while True:
        for path in WRAPPER_PATHS:
            inner = _descend(model, path)
            if inner is not None:
                model, prefix = inner, f"{prefix}{path}."
                break
        else:
            return model, prefix.removesuffix(".")


def _descend(model: nn.Module, path: str) -> nn.Module | None:
    """Follow `path` through registered children (a property such as base_model does not count)."""
    first, *rest = path.split(".")
    children = dict(model.named_children())
    # A user's own model may call a child "module"; a wrapper has nothing beside it.
    if first not in children or any(
        sum(1 for _ in child.parameters()) for key, child in children.items() if key != first
    ):
        return None
    if next(model.parameters(recurse=False), None) is not None:
        return None
    current = children[first]
    for part in rest:
        found = dict(current.named_children()).get(part)
        if found is None:
            return None
        current = found
    return current
