"""Small fits that are exported once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from support.tiny import TINY, make_table, make_texts, write_images

#: What the program beside an exported model must not need.
FORBIDDEN = ("torch", "pandas", "sklearn", "scipy", "transformers", "timm", "torchvision", "thermocline", "onnx")

BLOCKED = f"""
import sys
class Blocked:
    def find_spec(self, name, *_):
        if name.split(".")[0] in {FORBIDDEN!r}:
            raise ImportError(f"{{name}} is not to be needed")
sys.meta_path.insert(0, Blocked())
sys.path.insert(0, ".")
import run
sys.exit(run.main(sys.argv[1:]))
"""


def answers(folder: Path, file: Path) -> list[dict[str, Any]]:
    """What `run.py` prints in a process of its own, where this package and those that it is made of are blocked."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED, str(file)], cwd=folder, capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="session")
def small_text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from support.tiny import save_text

    folder = tmp_path_factory.mktemp("small") / "bert"
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
    return save_text(folder, "bert", **shape, max_position_embeddings=64)


@pytest.fixture(scope="session")
def mixed(tmp_path_factory: pytest.TempPathFactory, small_text: Path, image_folder: Path) -> Any:
    """A regression on every kind of column, some cells missing, with all that is blended."""
    from thermocline import Predictor

    rows, folder = 60, tmp_path_factory.mktemp("pictures")
    frame = write_images(folder, rows).drop(columns="y").assign(**make_table(rows).drop(columns="y"))
    frame["img"] = [str(folder / name) for name in frame["img"]]
    frame["back"] = frame["img"].sample(frac=1, random_state=0).to_numpy()
    frame.loc[3, "back"] = None
    frame["review"], frame["title"] = make_texts(rows)["review"], make_texts(rows, seed=3)["review"]
    frame["sold"] = pd.date_range("2020-01-30", periods=rows).strftime("%d.%m.%Y")
    frame.loc[5, ["x", "colour", "title"]] = None
    frame["y"] = np.exp(make_table(rows)["x"]) * 100
    options = {
        **TINY,
        "model.text.checkpoint": str(small_text),
        "model.image.checkpoint": str(image_folder),
        "model.image.size": 32,
        "model.trees": "on",
        "model.tfidf": "on",
        "data.target_transform": "quantile",
    }
    return Predictor("y", verbosity=0).fit(frame, hyperparameters=options), frame


@pytest.fixture(scope="session")
def reader_of_text(small_text: Path) -> Any:
    """Two classes by text, tuned by LoRA."""
    from thermocline import Predictor

    frame = make_texts(60)
    frame.loc[7, "review"] = None
    options = {**TINY, "model.text.checkpoint": str(small_text), "model.peft": "lora"}
    return Predictor("y", verbosity=0).fit(frame, hyperparameters=options), frame


@pytest.fixture(scope="session")
def table_fit() -> Any:
    """Three classes by a table."""
    from thermocline import Predictor

    frame = make_table(90).rename(columns={"y": "z2"})
    frame["y"] = pd.cut(frame["x"], 3, labels=False)
    return Predictor("y", "multiclass", verbosity=0).fit(frame, hyperparameters={**TINY, "model.trees": "off"}), frame


@pytest.fixture(scope="session")
def text_export(reader_of_text: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exports") / "text"
    reader_of_text[0].export(folder)
    return folder


@pytest.fixture(scope="session")
def table_export(table_fit: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exports") / "table"
    table_fit[0].export(folder)
    return folder
