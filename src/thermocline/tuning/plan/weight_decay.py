"""Which parameters take no weight decay: decided by their type and shape, never by "norm" in a name."""

from __future__ import annotations

import re

import torch
from torch import nn

from thermocline.tuning.layers.wrappers import clean_name, unwrap

_NORMS = (
    nn.LayerNorm,
    nn.GroupNorm,
    nn.RMSNorm,
    nn.modules.batchnorm._NormBase,
    nn.LocalResponseNorm,
)
_MATRICES = (nn.Linear, nn.Embedding, nn.Bilinear, nn.modules.conv._ConvNd)
#: Parameters (not weights of a linear layer) that are tokens or positions rather than transformations.
_TOKEN = re.compile(
    r"(pos|position|positional|rel_pos|relative_position)_?(embed\w*|emb|encoding|bias\w*)?(_table|_h|_w|_\d+)?"
    r"|(cls|class|dist|mask|reg|register|query|distillation|latent|prompt)_?(token|embed|embedding|query)s?"
    r"|\w*(pos_embed|position_embedding|position_bias|relative_attention_bias)\w*|absolute_pos\w*|class_embedding|mask_emb"
)
_POSITIONAL_MODULE = re.compile(
    r"position|pos_emb|rel_pos|relative_attention_bias|relative_position|wpe$|embed_positions"
)
_STATE_SPACE = frozenset({"A_log", "A_logs", "dt", "dt_bias", "D", "Ds", "dt_projs_bias"})


def undecayed(model: nn.Module) -> set[str]:
    """Return the names of parameters that take no weight decay.

    Norms, biases, anything that is a vector (LayerScale, gains), class, position and relative tokens and
    tables, position embeddings, the `A_log`, `dt` and `D` of state-space models, and what the model lists in
    its own `no_weight_decay()`. Word embeddings decay.
    """
    core, path = unwrap(model)
    listed = getattr(core, "no_weight_decay", None)
    own = set(listed()) if callable(listed) and not isinstance(listed, nn.Module) else set()
    prefix = f"{path}." if path else ""
    out: set[str] = set()
    modules = dict(model.named_modules())
    for name, parameter in model.named_parameters():
        module = modules[name.rpartition(".")[0]]
        if name.removeprefix(prefix) in own or is_undecayed(clean_name(name), parameter, module):
            out.add(name)
    return out


def is_undecayed(name: str, parameter: torch.Tensor, module: nn.Module) -> bool:
    """Whether a parameter takes no weight decay.

    Args:
        name: Its full name.
        parameter: The parameter.
        module: The module that holds it.
    """
    parent, _, leaf = name.rpartition(".")
    if parameter.ndim <= 1 or leaf == "bias" or isinstance(module, _NORMS) or leaf in _STATE_SPACE:
        return True
    if isinstance(module, _MATRICES):
        place = parent.rpartition(".")[2]
        return isinstance(module, nn.Embedding) and bool(_POSITIONAL_MODULE.search(place))
    return sum(size > 1 for size in parameter.shape) <= 1 or bool(_TOKEN.fullmatch(leaf))
