"""Texts whose entities follow from their words, and tiny fits on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

NAMES = {"person": ["Ada", "Grace", "Alan"], "city": ["Oslo", "Lima", "Bonn"]}
BETWEEN = ["went", "to", "and", "saw", "the", "old", "house", "in", "with", "a"]

TINY: dict[str, Any] = {
    "model.text.checkpoint": "bert",
    "model.text.pretrained": False,
    "optim.max_epochs": 2,
    "optim.lr": 3e-3,
    "env.batch_size": 8,
    "env.device": "cpu",
}


def make_marked(rows: int = 40, seed: int = 0, words: int = 6) -> pd.DataFrame:
    """Sentences of words, some of them names; every third has none."""
    random = np.random.default_rng(seed)
    texts, labels = [], []
    for row in range(rows):
        text, spans = "", []
        for word in random.choice(BETWEEN, size=words):
            text += f"{word} "
            if row % 3 and random.random() < 0.4:
                label = str(random.choice(sorted(NAMES)))
                name = str(random.choice(NAMES[label]))
                spans.append({"start": len(text), "end": len(text) + len(name), "label": label})
                text += f"{name} "
        texts.append(text.strip())
        labels.append(spans)
    return pd.DataFrame({"text": texts, "entities": labels})


def save_tiny(folder: Path, *, kind: str = "bert", places: int = 64) -> Path:
    """A checkpoint of a few weights with a byte-level tokenizer trained on such texts."""
    import torch
    from transformers import CONFIG_MAPPING, AutoModel

    from thermocline.inputs.text.tokenizer import fit_vocabulary, train_tokenizer

    tokenizer = train_tokenizer(make_marked(200)["text"], most=300)
    tokenizer.model_max_length = places
    config = CONFIG_MAPPING[kind](
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=48,
        max_position_embeddings=places,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    fit_vocabulary(config, tokenizer)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        AutoModel.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def tiny(folder: Path, **more: Any) -> dict[str, Any]:
    """Options of a tiny fit with a checkpoint."""
    return {**TINY, "model.text.checkpoint": str(folder), "model.text.pretrained": True, **more}
