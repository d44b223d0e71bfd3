"""Numbers learnt on another scale come back as they were, and predictions and scores are in the label's units."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.tiny import TINY, make_table, told
from thermocline import Predictor
from thermocline.errors import ConfigError, LabelError
from thermocline.problems.rowwise.metrics import score
from thermocline.problems.rowwise.target import RowTarget
from thermocline.problems.rowwise.transforms import MOST_KNOTS, Transform

NUMBERS = st.lists(st.floats(0, 1e4).map(lambda one: round(one, 3)), min_size=2, max_size=400, unique=True)


@given(NUMBERS, st.sampled_from(["log", "quantile"]))
@settings(deadline=None)
def test_the_inverse_undoes_it_and_order_stays(labels, name):
    labels = np.array(labels)
    found = Transform.of(name, labels, "y")
    beyond = np.linspace(labels.min() - 50, labels.max() + 50, 301)
    for values in (labels, beyond):
        np.testing.assert_allclose(found.inverse(found.forward(values)), values, rtol=1e-6, atol=1e-6)
    assert (np.diff(found.forward(beyond)) > 0).all()
    again = Transform.from_dict(json.loads(json.dumps(found.to_dict())))
    assert again == found


def test_normal_scores_are_normal_and_few():
    labels = np.random.default_rng(0).exponential(size=5000) ** 3
    found = Transform.of("quantile", labels, "y")
    assert len(found.labels) == MOST_KNOTS
    scores = found.forward(labels)
    assert abs(scores.mean()) < 0.02
    assert scores.std() == pytest.approx(1, abs=0.02)
    ties = Transform.of("quantile", np.array([0.0] * 30 + [1.0, 2.0, 3.0]), "y")
    assert ties.labels == (0, 1, 2, 3)
    assert np.isfinite(ties.scores).all()


def test_a_logarithm_is_one_inside_and_straight_beyond():
    found = Transform.of("log", np.array([1.0, 10.0, 100.0]), "y")
    np.testing.assert_allclose(found.forward([1, 7, 100]), np.log([1, 7, 100]))
    np.testing.assert_allclose(found.inverse(np.log(100) + np.array([0.0, 1.0, 50.0])), [100, 200, 5100])
    zero = Transform.of("log", np.array([0.0, 3.0]), "y")
    np.testing.assert_allclose(zero.forward([0, 3]), np.log1p([0, 3]))


def prices(rows=400, seed=0, noise=0.8):
    rng = np.random.default_rng(seed)
    frame = make_table(rows, seed)
    return frame.assign(y=np.exp(3 + frame["x"] + noise * rng.normal(size=rows)))


def test_numbers_below_zero_have_no_logarithm():
    frame = make_table().assign(y=lambda one: one["x"] * 3)
    fit = lambda: Predictor("y", verbosity=0).fit(frame, hyperparameters={"data.target_transform": "log"})  # noqa: E731
    assert "takes labels of 0 and above, and 'y' goes down to -" in told(LabelError, ValueError, fit)


def test_classes_do_not_read_it(table):
    fit = lambda: Predictor("y", verbosity=0).fit(table, hyperparameters={"data.target_transform": "log"})  # noqa: E731
    assert "data.target_transform is set to log and has no effect" in told(ConfigError, ValueError, fit)


@pytest.mark.parametrize("name", ["log", "quantile"])
def test_targets_are_encoded_on_it_and_scored_in_their_own_units(name):
    frame = prices()
    plain = RowTarget.of(frame, "y")
    target = plain.on_scale(name, frame)
    encoded = target.encode(frame)
    assert encoded.mean() == pytest.approx(0, abs=1e-3)
    assert encoded.std() == pytest.approx(1, abs=1e-3)
    np.testing.assert_allclose(target.restore(encoded)[:, 0], frame["y"], rtol=1e-4, atol=1e-4)
    off = score(target, "mae", encoded, encoded * 0.9)["mae"]
    assert off == pytest.approx(np.abs(frame["y"] - target.restore(encoded * 0.9)[:, 0]).mean(), rel=1e-4)
    assert RowTarget.from_dict(json.loads(json.dumps(target.to_dict()))) == target
    assert "transform" not in plain.to_dict()


def test_a_mean_over_errors_is_the_mean_of_the_label():
    labels = np.exp(np.random.default_rng(0).normal(3, 0.5, 20_000))
    frame = pd.DataFrame({"y": labels})
    target = RowTarget.of(frame, "y").on_scale("log", frame)
    middle = np.zeros((1, 1), dtype=np.float32)
    assert target.predicted(middle)[0, 0] == pytest.approx(np.median(labels), rel=0.02)
    mean = replace(target, transform=target.transform.with_errors(target.encode(frame)[:, 0]))
    assert mean.predicted(middle)[0, 0] == pytest.approx(labels.mean(), rel=0.01)


@pytest.mark.parametrize(("metric", "name"), [("rmse", "log"), ("mae", "quantile")])
def test_a_fit_is_scored_saved_and_resumed_with_it(metric, name, tmp_path):
    frame = prices()
    given = {**TINY, "data.target_transform": name, "model.trees": "off", "optim.refit": "off"}
    predictor = Predictor("y", eval_metric=metric, path=tmp_path / "saved", verbosity=0)
    predictor.fit(frame.iloc[:200], frame.iloc[200:], hyperparameters=given)
    notes = predictor.history["note"].str.contains("means over the errors of validation")
    assert notes.any() == (metric == "rmse")
    again = Predictor.load(predictor.path, verbosity=0)
    new = prices(50, seed=1)
    pd.testing.assert_series_equal(again.predict(new), predictor.predict(new))
    assert predictor.history.kept_scores == pytest.approx(again.evaluate(frame.iloc[200:], metric))
    assert again.predict(new).corr(new["y"], method="spearman") > 0.4
    bounds = again.predict_interval(new)
    assert new["y"].between(bounds["lower"], bounds["upper"]).mean() > 0.75
    predictor.fit(frame.iloc[:200], frame.iloc[200:], hyperparameters=given, resume=True)  # it has ended: loaded


def test_rows_that_are_left_out_change_the_scale(tmp_path, image_folder):
    from support.tiny import write_images

    frame = write_images(tmp_path / "images")
    frame = frame.assign(img=[str(tmp_path / "images" / name) for name in frame["img"]], y=np.arange(1.0, 25.0) ** 2)
    (tmp_path / "images" / "broken.png").write_bytes(b"no image")
    broken = pd.DataFrame({"img": [str(tmp_path / "images" / "broken.png")], "y": [1e9]})
    options = {
        **TINY,
        "optim.max_epochs": 1,
        "model.image.checkpoint": str(image_folder),
        "data.target_transform": "log",
    }
    with pytest.warns(UserWarning, match="broken"):
        predictor = Predictor("y", verbosity=0).fit(pd.concat([frame, broken]), hyperparameters=options)
    assert predictor._assembly.target.transform.labels == (1, 576)
