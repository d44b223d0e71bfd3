"""Small transformers and timm backbones with random weights, and what their forward passes keep in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import timm
import torch
from torch import nn
from transformers import BertConfig, BertModel, GPT2Config, GPT2Model, T5Config, T5EncoderModel

IDS = torch.arange(5, 29).reshape(2, 12)
PIXELS = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def bert(blocks: int = 3, width: int = 16) -> BertModel:
    config = BertConfig(
        vocab_size=60,
        num_hidden_layers=blocks,
        hidden_size=width,
        num_attention_heads=2,
        intermediate_size=2 * width,
        max_position_embeddings=64,
    )
    return BertModel(config, add_pooling_layer=False)


def t5() -> T5EncoderModel:
    return T5EncoderModel(T5Config(vocab_size=60, num_layers=3, d_model=16, d_kv=8, num_heads=2, d_ff=32))


def gpt2() -> GPT2Model:
    shape = {"vocab_size": 60, "n_layer": 3, "n_embd": 16, "n_head": 2, "bos_token_id": 0, "eos_token_id": 1}
    return GPT2Model(GPT2Config(**shape, use_cache=False))


def vit() -> nn.Module:
    size = {"img_size": 32, "embed_dim": 24, "depth": 3, "num_heads": 2, "num_classes": 3}
    return timm.create_model("vit_tiny_patch16_224", **size, proj_drop_rate=0.1, drop_path_rate=0.2)


def resnet() -> nn.Module:
    return timm.create_model("resnet10t", num_classes=3, drop_path_rate=0.2)


def text(model: nn.Module) -> torch.Tensor:
    return model(input_ids=IDS, attention_mask=torch.ones_like(IDS))[0]


def image(model: nn.Module) -> torch.Tensor:
    return model(PIXELS)


MODELS = {"bert": (bert, text), "t5": (t5, text), "gpt2": (gpt2, text), "vit": (vit, image), "resnet": (resnet, image)}


def kept_bytes(model: nn.Module, call: Callable[[nn.Module], Any]) -> int:
    """Of what is kept for the backward pass, weights and the batch apart."""
    held = {p.untyped_storage()._cdata for p in (*model.parameters(), *model.buffers(), PIXELS, IDS)}
    seen: dict[int, torch.Tensor] = {}
    with torch.autograd.graph.saved_tensors_hooks(
        lambda t: seen.setdefault(t.untyped_storage()._cdata, t) if t is not None else t, lambda t: t
    ):
        call(model)
    return sum(t.untyped_storage().nbytes() for key, t in seen.items() if key not in held)
