"""A fit leaves the caller's things alone, and the same seed gives the same weights, here and in another process."""

from __future__ import annotations

import logging
import os
import random
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from support.tiny import TINY, make_table, make_texts, write_images
from thermocline import Predictor


def fit(frame, label="y", *arguments, options=None, **more) -> Predictor:
    named = {key: more.pop(key) for key in ("sample_weight", "path") if key in more}
    predictor = Predictor(label, *arguments, verbosity=0, **named)
    return predictor.fit(frame, hyperparameters={**TINY, **(options or {})}, **more)


def weights(predictor) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in predictor._assembly.model.state_dict().items()}


def same(one, other) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


# -- what is left alone ----------------------------------------------------------------------------


def rng_states():
    kind, keys, *rest = np.random.get_state()
    return [torch.get_rng_state().tolist(), kind, keys.tolist(), rest, random.getstate()]


def environment():
    root = logging.getLogger()
    loggers = [root, *(logging.getLogger(n) for n in ("transformers", "timm", "huggingface_hub", "accelerate", "PIL"))]
    return [
        [(list(log.handlers), log.level, log.propagate, log.disabled) for log in loggers],
        list(warnings.filters),
        torch.get_num_threads(),
        torch.is_grad_enabled(),
        torch.are_deterministic_algorithms_enabled(),
        Path.cwd(),
        dict(os.environ),
    ]


def test_nothing_of_the_callers_is_touched(tmp_path, monkeypatch, text_folder, image_folder):
    monkeypatch.chdir(tmp_path)
    frame = write_images(tmp_path / "p", 16)[["img"]].map(lambda name: str(tmp_path / "p" / name))
    frame = pd.concat([frame, make_texts(16), make_table(16)[["x", "colour"]]], axis=1).set_axis(range(100, 116))
    frame.attrs["mine"] = 1
    options = {"model.text.checkpoint": str(text_folder), "model.image.checkpoint": str(image_folder)}
    fit(frame, options={**options, "optim.max_steps": 1})  # libraries set themselves up at their first use
    before, states, around = frame.copy(deep=True), rng_states(), environment()
    predictor = fit(frame, options=options)
    predictor.predict(frame)
    predictor.evaluate(frame)
    pd.testing.assert_frame_equal(frame, before)
    assert frame.attrs == {"mine": 1}
    assert rng_states() == states
    assert environment() == around
    assert sorted(p.name for p in tmp_path.iterdir()) == ["p"]


def test_predict_writes_no_file(fitted_table, table, tmp_path, monkeypatch):
    import tempfile

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    fitted_table.predict(table)
    fitted_table.evaluate(table)
    assert list(tmp_path.iterdir()) == []


def test_fit_leaves_no_temporary_file(table, tmp_path, monkeypatch):
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    fit(table)
    assert list(tmp_path.iterdir()) == []


def test_quiet(table, reviews, text_folder, capfd):
    fit(table).evaluate(table)
    predictor = fit(reviews, options={"model.text.checkpoint": str(text_folder), "optim.max_steps": 1})
    predictor.predict(reviews)
    assert capfd.readouterr() == ("", "")


def test_talkative(table, capsys):
    Predictor("y").fit(table, hyperparameters=TINY)
    out = capsys.readouterr().out
    assert "binary on 'y'" in out
    assert "3 columns: 2 numeric, 1 categorical" in out
    assert "roc_auc" in out


# -- the same again --------------------------------------------------------------------------------


def test_one_seed_one_result(table, reviews, text_folder):
    for frame, options in ((table, {}), (reviews, {"model.text.checkpoint": str(text_folder)})):
        first = weights(fit(frame, options=options, seed=3))
        torch.manual_seed(99)
        np.random.seed(99)
        assert same(first, weights(fit(frame, options=options, seed=3)))
        assert not same(first, weights(fit(frame, options=options, seed=4)))


def test_workers_change_nothing(pictures, image_folder):
    options = {"model.image.checkpoint": str(image_folder), "env.batch_size": 8, "optim.max_epochs": 1}
    first = fit(pictures, options=options)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*fork.*", category=DeprecationWarning)
        second = fit(pictures, options={**options, "env.num_workers": 2})
    assert same(weights(first), weights(second))
    assert first.predict_proba(pictures).equals(second.predict_proba(pictures))


def test_a_new_process_predicts_the_same(tmp_path, reviews, text_folder):
    predictor = fit(reviews, options={"model.text.checkpoint": str(text_folder)}, path=tmp_path / "run")
    reviews.to_csv(tmp_path / "rows.csv", index=False)
    expected = predictor.predict_proba(tmp_path / "rows.csv")
    code = (
        "import sys, torch; torch.set_num_threads(1); from thermocline import Predictor;"
        "p = Predictor.load(sys.argv[1], verbosity=0); p.predict_proba(sys.argv[2]).to_pickle(sys.argv[3])"
    )
    arguments = [tmp_path / "run", tmp_path / "rows.csv", tmp_path / "out.pkl"]
    subprocess.run([sys.executable, "-W", "error", "-c", code, *map(str, arguments)], check=True)
    pd.testing.assert_frame_equal(pd.read_pickle(tmp_path / "out.pkl"), expected, check_exact=True)
