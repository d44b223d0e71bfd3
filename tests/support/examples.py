"""The names that examples in docstrings have without an import; CONTRIBUTING.md lists them."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import thermocline
from support.tiny import TINY, make_texts, save_text
from support.tiny_pairs import make_pairs

BERT = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
}


@lru_cache(maxsize=1)
def example_names(folder: Path) -> dict[str, Any]:
    """Return `train`, `test`, `tiny`, `predictor`, `matcher`, `pairs`, `pd`, `np` and what `thermocline` exports.

    Args:
        folder: Where the text checkpoint is written.
    """
    checkpoint = save_text(folder / "tiny-bert", "bert", **BERT)
    tiny: dict[str, Any] = {**TINY, "optim.max_epochs": 1, "model.text.checkpoint": str(checkpoint)}
    train, test = example_frame(48), example_frame(16, seed=1)
    predictor = thermocline.Predictor("verdict", verbosity=0).fit(train, hyperparameters=tiny)
    names = {name: getattr(thermocline, name) for name in thermocline.__all__}
    pairs = make_pairs(24)[["first", "second", "grade"]]
    matcher = thermocline.Predictor("grade", "similarity", query="first", response="second", verbosity=0)
    no_table = {name: one for name, one in tiny.items() if not name.startswith(("model.table", "model.fusion"))}
    names |= {"pairs": pairs, "matcher": matcher.fit(pairs, hyperparameters=no_table)}
    return {**names, "pd": pd, "np": np, "tiny": tiny, "train": train, "test": test, "predictor": predictor}


def example_frame(rows: int, seed: int = 0) -> pd.DataFrame:
    """Return reviews with a price and a shop; `verdict` follows from the words."""
    rng = np.random.default_rng(seed)
    texts = make_texts(rows, seed)
    price = rng.uniform(5, 50, size=rows).round(2)
    shop = rng.choice(["corner", "online"], size=rows)
    return pd.DataFrame({"review": texts["review"], "price": price, "shop": shop, "verdict": texts["y"]})
