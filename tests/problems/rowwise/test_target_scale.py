"""The logarithm is taken where linear models show that it is better, and nowhere else."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from support.tiny import TINY
from thermocline import Predictor
from thermocline.data.columns import infer_columns
from thermocline.problems.rowwise.target import RowTarget
from thermocline.problems.rowwise.target_scale import LEAST_ROWS, chosen_scale


def frame_of(kind, rows=400, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 3))
    if kind == "sum of skewed":
        x = np.exp(x)
    colour = rng.choice(["red", "green", "blue"], rows)
    total = x[:, 0] + (colour == "red") + 0.3 * rng.normal(size=rows)
    labels = {
        "product": np.exp(total),
        "below zero": np.exp(total) - 0.5,
        "even": 10 + total,
        "squares": 5 * x[:, 0] ** 2 + 2 * x[:, 1] ** 2 + rng.normal(size=rows) ** 2,
        "sum of skewed": x @ [3, 2, 1] + rng.normal(0, 0.3, rows) + 10,
        "noise": np.exp(rng.normal(size=rows)),
    }
    return pd.DataFrame({"a": x[:, 0], "b": x[:, 1], "c": x[:, 2], "colour": colour, "y": labels[kind]})


def chosen(frame, metric="rmse", seed=0):
    target = RowTarget.of(frame, "y", "regression", metric)
    return chosen_scale(target, frame, infer_columns(frame.drop(columns="y")), seed)


@pytest.mark.parametrize("metric", ["rmse", "r2", "mae", "spearman"])
@pytest.mark.parametrize("seed", range(3))
def test_a_product_is_learnt_as_its_logarithm(metric, seed):
    frame = frame_of("product", 1500, seed)
    target, notes = chosen(frame, metric, seed)
    assert target.transform.name == "log"
    assert notes[0].startswith("y is learnt as its logarithm: ")
    assert ("squared" if metric in ("rmse", "r2") else "absolute") in notes[0]
    assert target.transform.errors == ()
    assert target == RowTarget.of(frame, "y", "regression", metric).on_scale("log", frame)


@pytest.mark.parametrize("metric", ["rmse", "mae"])
@pytest.mark.parametrize("kind", ["below zero", "even", "squares", "sum of skewed"])
@pytest.mark.parametrize("seed", range(3))
def test_what_is_no_product_stays(kind, metric, seed):
    frame = frame_of(kind, seed=seed)
    assert chosen(frame, metric, seed) == (RowTarget.of(frame, "y", "regression", metric), ())


def test_a_mean_of_noise_needs_no_logarithm():
    taken = [chosen(frame_of("noise", seed=seed), seed=seed)[0].transform is not None for seed in range(10)]
    assert sum(taken) <= 1


def test_few_rows_and_no_cheap_features_leave_it():
    frame = frame_of("product")
    assert chosen(frame.iloc[: LEAST_ROWS - 1])[0].transform is None
    pictures = frame.assign(img=[np.zeros((4, 4, 3), dtype=np.uint8)] * len(frame))[["img", "y"]]
    assert chosen(pictures)[0].transform is None


def test_words_tell_it_too_and_missing_cells_do_no_harm():
    frame = frame_of("product", rows=300)
    size = np.where(frame["a"] > 0, "large", "small") + (2 * frame["a"].abs()).astype(int).astype(str)
    words = frame["colour"] + " thing of size " + size + " number " + frame.index.astype(str)
    texts = pd.DataFrame({"words": words, "y": frame["y"]})
    target = RowTarget.of(texts, "y", "regression", "mae")
    columns = infer_columns(texts.drop(columns="y"), column_types={"words": "text"})
    assert chosen_scale(target, texts, columns, 0)[0].transform is not None
    frame.loc[::5, "a"] = np.nan
    frame.loc[::7, "colour"] = None
    assert chosen(frame, "mae")[0].transform is not None


def test_a_fit_says_what_it_took_and_an_option_overrules_it():
    frame = frame_of("product", rows=200)
    noted = {}
    for scale in ("auto", "none", "quantile"):
        given = {**TINY, "optim.max_epochs": 1, "data.target_transform": scale}
        predictor = Predictor("y", eval_metric="mae", verbosity=0).fit(frame, hyperparameters=given)
        transform = predictor._assembly.target.transform
        noted[scale] = None if transform is None else transform.name
        assert predictor.history["note"].str.contains("learnt as its logarithm").any() == (scale == "auto")
    assert noted == {"auto": "log", "none": None, "quantile": "quantile"}
