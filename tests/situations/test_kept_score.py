"""The score that the history says was kept is the one that `evaluate` gives for the same rows, of every kind.

But for a probe that was fitted to these rows as well (`optim.refit`): its score is that of one that has not seen them.
"""

from __future__ import annotations

import numpy as np
import pytest

from support.shapes import options as detector_options
from support.shapes import save_detector, write_shapes
from support.tiny import TINY, make_texts
from thermocline import Predictor

ONCE = {"optim.max_epochs": 1, "optim.lr": 3e-3, "env.batch_size": 8}
KINDS = ["binary", "threshold", "multiclass", "multilabel", "regression"]
METRICS = {"threshold": "f1", "multilabel": "accuracy"}


def labelled(kind, rows, seed):
    """Texts with a label that follows their words, and not always."""
    frame = make_texts(rows, seed)
    rng = np.random.default_rng(seed)
    count = frame["review"].str.count("the|was") + rng.normal(0, 1, rows)
    good = frame["y"] == "good"
    if kind == "multiclass":
        return frame.assign(y=np.where(good, np.where(count > 1, "a", "b"), "c")), "y"
    if kind == "multilabel":
        return frame.assign(y=good * 1, many=(count > 1) * 1), ["y", "many"]
    if kind == "regression":
        return frame.assign(y=good * 3.5 + count), "y"
    return frame.assign(y=np.where(good & (count > 0.5), "fraud", "ok")), "y"


@pytest.mark.parametrize("cache", ["off", "memory"])
@pytest.mark.parametrize("kind", KINDS)
def test_rows(kind, cache, text_folder, tmp_path):
    (frame, label), (tuning, _) = labelled(kind, 24, 0), labelled(kind, 16, 1)
    given = {
        **TINY,
        **ONCE,
        "model.text.checkpoint": str(text_folder),
        "model.text.frozen_layers": 2,
        "optim.cache_prefix": cache,
        "optim.refit": "off",
    }
    predictor = Predictor(label, eval_metric=METRICS.get(kind), path=tmp_path / "saved", verbosity=0)
    predictor.fit(frame, tuning, hyperparameters=given)
    assert predictor.history["note"].str.contains("run once a row").any() == (cache == "memory")
    check_kept(predictor, tuning)
    assert ("threshold" in predictor.history.kept_scores) == (kind == "threshold")


def check_kept(predictor, tuning):
    kept = predictor.history.kept_scores
    assert predictor.eval_metric in kept
    for one in (predictor, Predictor.load(predictor.path, verbosity=0)):
        scores = {"threshold": 0.5} | one.evaluate(tuning)
        assert {name: scores[name] for name in kept} == kept


@pytest.mark.parametrize(
    "given",
    [
        {"optim.top_k_average": "uniform_soup", "optim.max_epochs": 3, "optim.val_check_interval": 0.5},
        {"optim.lr": 10.0, "optim.gradient_clip": None},  # the probe is kept
    ],
)
def test_what_is_kept_may_be_an_average_or_the_probe(given, text_folder, tmp_path):
    (frame, label), (tuning, _) = labelled("threshold", 40, 0), labelled("threshold", 30, 1)
    weights = np.random.default_rng(0).uniform(0.1, 2, 70).round(3)
    frame, tuning = frame.assign(w=weights[:40]), tuning.assign(w=np.where(np.arange(30) % 7, weights[40:], 0.0))
    predictor = Predictor(label, eval_metric="f1", sample_weight="w", path=tmp_path / "saved", verbosity=0)
    given = {
        **TINY,
        **ONCE,
        "model.text.checkpoint": str(text_folder),
        "model.text.frozen_layers": 2,
        "optim.refit": "off",
    } | given
    predictor.fit(frame, tuning, hyperparameters=given)
    check_kept(predictor, tuning)


@pytest.mark.parametrize("cache", ["off", "memory"])
def test_detection(cache, tmp_path, monkeypatch):
    checkpoint = save_detector(tmp_path / "tiny-rt-detr")
    frame = write_shapes(tmp_path / "images")
    monkeypatch.chdir(tmp_path / "images")
    given = detector_options(
        checkpoint,
        tmp_path / "images",
        **{
            "model.frozen_layers": "backbone",
            "model.detector.augment": "none",
            "optim.max_epochs": 2,
            "optim.cache_prefix": cache,
        },
    )
    predictor = Predictor("rois", "object_detection", path=tmp_path / "saved", verbosity=0)
    predictor.fit(frame.iloc[4:], frame.iloc[:4], hyperparameters=given)
    assert predictor.history["note"].str.contains("run once a row").any() == (cache == "memory")
    check_kept(predictor, frame.iloc[:4])
