"""Fits with and without cached prefixes, and whether they are bit for bit the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import torch

from support.tiny import TINY
from thermocline import Predictor


def fit(frame: pd.DataFrame, mode: str, *, path: Path | None = None, resume: bool = False, **options: Any) -> Predictor:
    hyperparameters = {**TINY, "optim.max_epochs": 2, "optim.lr": 3e-3, "env.batch_size": 8, **options}
    hyperparameters["optim.cache_prefix"] = mode
    return Predictor("y", path=path, verbosity=0).fit(frame, hyperparameters=hyperparameters, resume=resume)


def history(predictor: Predictor) -> pd.DataFrame:
    """The history without times and notes on what is saved."""
    frame = predictor.history
    told = frame["note"].astype(str).str.startswith("saved, ")
    return frame[~told].drop(columns="seconds").reset_index(drop=True)


def notes(predictor: Predictor) -> str:
    return "\n".join(str(note) for note in predictor.history["note"])


def weights(predictor: Predictor) -> dict[str, torch.Tensor]:
    assert predictor._assembly is not None
    return dict(predictor._assembly.model.state_dict())


def check_same(one: Predictor, other: Predictor, frame: pd.DataFrame) -> None:
    assert history(one).equals(history(other))
    left, right = weights(one), weights(other)
    assert [name for name in left if not torch.equal(left[name], right[name])] == []
    images = one.config.data.image_folder
    assert one.predict_proba(frame, image_folder=images).equals(other.predict_proba(frame, image_folder=images))


def check(frame: pd.DataFrame, mode: str = "memory", *, cached: bool = True, **options: Any) -> Predictor:
    """Fit with and without the cache, and compare."""
    off, on = fit(frame, "off", **options), fit(frame, mode, **options)
    check_same(off, on, frame)
    assert ("run once a row" in notes(on)) == cached, notes(on)
    return on


def of_images(folder: Path, **more: Any) -> dict[str, Any]:
    return {"model.image.checkpoint": str(folder), "model.image.augment": "none", **more}
