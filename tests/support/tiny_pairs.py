"""Tiny frames of pairs, and the options that fit them in a second."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from support.tiny import FILLER, TINY, WORDS, save_text

THINGS = ["film", "story", "music", "cast", "end"]
BERT = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
}


def make_pairs(rows: int = 48, seed: int = 0) -> pd.DataFrame:
    """Pairs of sentences: `grade` from 0 to 4 is how many of their four words are the same; `same` is 1 from 2 on."""
    rng = np.random.default_rng(seed)
    words = sorted({*FILLER, *WORDS["good"], *WORDS["bad"]})
    queries, responses, grades = [], [], []
    for row in range(rows):
        own, grade = rng.choice(words, size=4, replace=False), row % 5
        other = [word for word in words if word not in own]
        queries.append(f"{' '.join(own)} {row}")
        responses.append(" ".join([*own[:grade], *rng.choice(other, size=4 - grade, replace=False)]))
        grades.append(float(grade))
    frame = pd.DataFrame({"first": queries, "second": responses, "grade": grades})
    return frame.assign(same=(frame["grade"] >= 2).astype(int), wrong=np.roll(frame["second"], 7))


def options(folder: Path, **more: Any) -> dict[str, Any]:
    """Return options with a tiny text checkpoint, which is written where it is not there."""
    checkpoint = folder / "tiny-bert"
    if not checkpoint.is_dir():
        save_text(checkpoint, "bert", **BERT)
    own = {name: value for name, value in TINY.items() if not name.startswith(("model.table", "model.fusion"))}
    return {**own, "model.text.checkpoint": str(checkpoint), "optim.lr": 3e-3, **more}
