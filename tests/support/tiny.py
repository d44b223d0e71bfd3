"""What the tests fit: tiny frames and checkpoints, and the check of an error's class and builtin."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from thermocline.errors import ThermoclineError

WORDS = {
    "good": ["bright", "lovely", "great", "fine", "kind"],
    "bad": ["awful", "dull", "poor", "grim", "cold"],
}
FILLER = ["the", "film", "was", "rather", "and", "its", "end", "story", "cast", "music"]

# Fits in tests are this small: a table tower of a few units, two epochs.
TINY = {
    "optim.max_epochs": 2,
    "env.batch_size": 16,
    "env.device": "cpu",
    "model.table.width": 16,
    "model.table.blocks": 1,
    "model.fusion.width": 16,
    "model.text.max_length": 24,
}


def told(error_type: type[Exception], builtin: type[Exception], call: Callable[[], object]) -> str:
    """Return the message of the error, checked to be one of ours and the builtin it specialises."""
    with pytest.raises(error_type) as caught:
        call()
    assert isinstance(caught.value, ThermoclineError)
    assert isinstance(caught.value, builtin)
    return str(caught.value)


def make_table(rows: int = 60, seed: int = 0) -> pd.DataFrame:
    """Numbers and categories; `y` follows `x` and `colour`."""
    rng = np.random.default_rng(seed)
    x, z = rng.normal(size=rows), rng.normal(size=rows)
    colour = rng.choice(["red", "green", "blue"], size=rows)
    y = np.where(x + (colour == "red") + 0.2 * z > 0.3, "yes", "no")
    return pd.DataFrame({"x": x, "z": z, "colour": colour, "y": y})


def make_texts(rows: int = 48, seed: int = 0) -> pd.DataFrame:
    """Sentences whose words tell the label."""
    rng = np.random.default_rng(seed)
    label = np.array(["good", "bad"] * rows)[:rows]
    texts = [
        " ".join([*rng.choice(FILLER, size=rng.integers(2, 9)), *rng.choice(WORDS[kind], size=2)]) for kind in label
    ]
    return pd.DataFrame({"review": texts, "y": label})


def write_images(folder: Path, rows: int = 24, seed: int = 0) -> pd.DataFrame:
    """Red and blue squares with noise as PNG files; paths are relative to the folder."""
    from PIL import Image

    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    names, labels = [], []
    for row in range(rows):
        pixels = rng.integers(0, 90, size=(20, 20, 3), dtype=np.uint8)
        pixels[..., 0 if row % 2 else 2] += 150
        Image.fromarray(pixels).save(folder / f"{row}.png")
        names.append(f"{row}.png")
        labels.append("red" if row % 2 else "blue")
    return pd.DataFrame({"img": names, "y": labels})


def save_text(folder: Path, kind: str, **changes: Any) -> Path:
    """A text checkpoint with random weights and a tokenizer trained on the words above."""
    import torch
    from transformers import CONFIG_MAPPING, AutoModel

    from thermocline.inputs.text.tokenizer import fit_vocabulary, train_tokenizer

    corpus = [*make_texts(200)["review"], *FILLER]
    tokenizer = train_tokenizer(corpus, most=400)
    tokenizer.model_max_length = 64
    config = CONFIG_MAPPING[kind](**changes)
    fit_vocabulary(config, tokenizer)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        AutoModel.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
