"""What cannot be read from a model's structure: patterns of names, and a table of exceptions by family.

Every row of the table has a reason. A row is looked up by `config.model_type` (transformers) or by the class name
(anything else); patterns are the segment globs of `thermocline.tuning.layers.patterns`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from torch import nn

from thermocline.tuning.layers.wrappers import clean_name

#: Leaf names of parameters that feed the blocks from outside, wherever in the module they were defined.
EMBEDDING_LIKE = re.compile(
    r"(^|[._])(\w*embed\w*|wte|wpe|rel_pos\w*|pos_bias\w*|position\w*|relative_attention_bias|cls_token"
    r"|class_token|dist_token|mask_token|per_layer_\w+)([._]|$)"
)
#: Norms that run after the last block although some models define them before the stack (OPT, PvT).
FINAL_NORM = re.compile(r"(^|\.)(final_layer_?norm|final_norm|ln_f|norm_f|post_layernorm|last_layer_norm)(\.|$)")
#: Numbered siblings that run in parallel, not one after another.
PARALLEL = re.compile(r"(^|_)(branch|branches|path|expert)\d*$")
#: Children that are towers of their own when a model has two or more of them.
TOWER_SEGMENT = re.compile(
    r"^(vision|text|language|audio|speech|visual|image|video|qformer|vit|prompt|mask)"
    r"(_?(model|tower|encoder|decoder|backbone|branch))?$|^(visual|qformer|t2u_model|vocoder)$"
)


@dataclass(frozen=True)
class Family:
    """One exception: how a family's layers differ from what structure says.

    Attributes:
        reason: Why; shown as a doubt where the family is doubtful.
        blocks: Patterns of the blocks, in order, in place of the search by structure.
        stem: Patterns of modules whose parameters belong to the stem although they are defined elsewhere.
        last: Patterns of modules that run after the last block although they are defined elsewhere.
        whole_stages: Whether stages of timm's matcher stay whole, because what is inside runs in parallel.
        doubtful: Whether the map is known to be wrong somewhere, so that it is not confident.
    """

    reason: str
    blocks: tuple[str, ...] = ()
    stem: tuple[str, ...] = ()
    last: tuple[str, ...] = ()
    whole_stages: bool = False
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
    "HighResolutionNet": Family("branches of a stage run in parallel", whole_stages=True),
    "HighResolutionNetFeatures": Family("branches of a stage run in parallel", whole_stages=True),
}


FAMILIES |= dict.fromkeys(
    ("glm4v", "glm46v", "glmga"),
    Family("the vision tower's post_conv_layernorm is defined after its blocks", stem=("**.post_conv_layernorm",)),
)
_NESTED_MODELS = Family("models inside models, of which no forward pass was seen to run all", doubtful=True)
FAMILIES |= dict.fromkeys(
    (
        "apertus1p5",
        "lightglue",
        "pe_audio",
        "pe_audio_encoder",
        "pe_audio_video",
        "pe_audio_video_encoder",
        "pe_video",
        "vibevoice_acoustic_tokenizer",
        "xcodec",
    ),
    _NESTED_MODELS,
)


def is_embedding(model: nn.Module, name: str) -> bool:
    """Return whether a parameter is a table of embeddings, or one that is put beside or added to the data as it is."""
    module = model.get_submodule(name.rpartition(".")[0])
    return isinstance(module, nn.Embedding) or EMBEDDING_LIKE.search(clean_name(name)) is not None


def family_of(model: nn.Module) -> Family | None:
    """Return the row of the table for this model, if it has one."""
    model_type = getattr(getattr(model, "config", None), "model_type", None)
    for key in (model_type, type(model).__name__):
        if isinstance(key, str) and key in FAMILIES:
            return FAMILIES[key]
    return None
