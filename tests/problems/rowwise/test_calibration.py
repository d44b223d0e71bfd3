"""A temperature makes probabilities right and changes no predicted class, however few the rows are."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.tiny import TINY, make_table
from thermocline import Predictor
from thermocline.problems.rowwise.calibration import calibrated, temperature
from thermocline.problems.rowwise.metrics import score
from thermocline.problems.rowwise.target import RowTarget

KINDS = ["binary", "multiclass", "multilabel"]


def target_of(kind):
    if kind == "multilabel":
        frame = pd.DataFrame({"a": [0, 1, 0, 1], "b": [1, 0, 0, 1], "c": [0, 0, 1, 1]})
        return RowTarget.of(frame, ["a", "b", "c"])
    values = ["no", "yes"] if kind == "binary" else ["a", "b", "c", "d"]
    return RowTarget.of(pd.DataFrame({"y": values * 2}), "y")


def drawn(kind, rows, scale, seed):
    """Outputs that are `scale` times the true logits, and labels drawn by these."""
    target, rng = target_of(kind), np.random.default_rng(seed)
    logits = rng.normal(0, 2, (rows, target.width))
    chance = target.activate(logits)
    if kind == "multilabel":
        encoded = (rng.random(chance.shape) < chance).astype(np.float32)
    else:
        encoded = (rng.random((rows, 1)) > chance.cumsum(axis=1)[:, :-1]).sum(axis=1)
    return target, (scale * logits).astype(np.float32), encoded


def loss(target, outputs, encoded, weight=None):
    return score(target, "log_loss", encoded, outputs, weight)["log_loss"]


def expected_loss(target, outputs, scale):
    """The log-loss over all labels that the rows might have had."""
    true, said = replace(target, temperature=scale).activate(outputs), target.activate(outputs)
    if target.problem_type != "multilabel":
        return -(true * np.log(said)).sum(axis=1).mean()
    return -(true * np.log(said) + (1 - true) * np.log1p(-said)).mean()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scale", [0.2, 1.0, 4.0])
def test_it_finds_what_outputs_were_scaled_by(kind, scale):
    target, outputs, encoded = drawn(kind, 2000, scale, seed=0)
    assert temperature(target, outputs, encoded) == pytest.approx(scale, rel=0.15)


@given(
    kind=st.sampled_from(KINDS),
    rows=st.sampled_from([10, 30, 200]),
    scale=st.sampled_from([0.25, 1.0, 3.0]),
    seed=st.integers(0, 10_000),
)
@settings(max_examples=40, deadline=None)
def test_new_rows_are_not_much_worse_and_classes_stay(kind, rows, scale, seed):
    target, outputs, encoded = drawn(kind, rows + 1000, scale, seed)
    found, notes = calibrated(target, outputs[:rows], encoded[:rows])
    assert loss(found, outputs[:rows], encoded[:rows]) <= loss(target, outputs[:rows], encoded[:rows])
    before, after = (expected_loss(one, outputs[rows:], scale) for one in (target, found))
    assert after <= before + 8 / rows
    np.testing.assert_array_equal(found.choose(outputs), target.choose(outputs))
    assert bool(notes) == (found.temperature != 1)


@pytest.mark.parametrize("kind", KINDS)
def test_it_pays_on_average(kind):
    gains = []
    for seed in range(20):
        target, outputs, encoded = drawn(kind, 1030, (0.3, 1.0, 3.0)[seed % 3], seed)
        found, _ = calibrated(target, outputs[:30], encoded[:30])
        gains.append(loss(target, outputs[30:], encoded[30:]) - loss(found, outputs[30:], encoded[30:]))
    assert np.mean(gains) > 0.02
    assert np.min(gains) > -0.1


@pytest.mark.parametrize("kind", KINDS)
def test_rows_that_were_not_reached_are_left_out(kind):
    target, outputs, encoded = drawn(kind, 80, 3.0, seed=1)
    holes = outputs.copy()
    holes[::3] = np.nan
    there = np.isfinite(holes).all(axis=1)
    assert calibrated(target, holes, encoded) == calibrated(target, outputs[there], encoded[there])
    assert calibrated(target, np.full_like(outputs, np.nan), encoded) == (target, ())


def test_weights_count_by_their_proportions():
    target, outputs, encoded = drawn("multiclass", 90, 3.0, seed=2)
    even = temperature(target, outputs, encoded)
    assert temperature(target, outputs, encoded, np.full(90, 7.0)) == pytest.approx(even, rel=1e-3)
    none = (np.arange(90) >= 30).astype(np.float32)
    alone = temperature(target, outputs[30:], encoded[30:])
    assert temperature(target, outputs, encoded, none) == pytest.approx(alone, rel=1e-3)
    assert calibrated(target, outputs, encoded, np.zeros(90)) == (target, ())
    heavy = np.where(np.arange(90) < 5, 1e3, 1.0)  # stands for about five rows
    few = abs(np.log(temperature(target, outputs, encoded, heavy)))
    assert few < abs(np.log(temperature(target, outputs[:5].repeat(18, 0), encoded[:5].repeat(18, 0))))


@pytest.mark.parametrize("rows", [1, 5, 50])
def test_rows_without_a_mistake_give_no_certainty(rows):
    target = target_of("binary")
    outputs = np.tile(np.array([[1.0, -1.0]], dtype=np.float32), (rows, 1))
    found, _ = calibrated(target, outputs, np.zeros(rows, dtype=np.int64))  # one class, and far apart
    assert 0.25 < found.temperature <= 1.0
    sure, _ = calibrated(target, 20 * outputs, np.zeros(rows, dtype=np.int64))
    assert sure.temperature == 1.0


def test_it_survives_json_and_no_temperature_leaves_no_trace():
    target = target_of("multiclass")
    assert "temperature" not in target.to_dict()
    warm = replace(target, temperature=1.3217)
    assert RowTarget.from_dict(json.loads(json.dumps(warm.to_dict()))) == warm
    logits = np.array([[1.0, 2.0, 0.0, -1.0]])
    np.testing.assert_allclose(warm.activate(1.3217 * logits), target.activate(logits))


def fitted(tmp_path, name, frame, metric, **options):
    predictor = Predictor("y", eval_metric=metric, path=tmp_path / name, verbosity=0)
    given = {**TINY, "optim.lr": 1e-3, "optim.refit": "off", **options}
    if metric != "rmse":
        given["model.trees"] = "off"  # as a probe that is fitted again, they learn from the tuning data too
    return predictor.fit(frame.iloc[:60], frame.iloc[60:], hyperparameters=given)


def noisy(rows=140):
    frame = make_table(rows)
    return frame.assign(y=np.where(np.arange(rows) % 7 == 0, np.where(frame["y"] == "yes", "no", "yes"), frame["y"]))


@pytest.mark.parametrize(("metric", "threshold"), [("log_loss", "auto"), ("f1", "auto"), ("f1", 0.4)])
def test_a_fit_is_scored_and_saved_with_it(metric, threshold, tmp_path):
    frame = noisy()
    given = {"optim.threshold": threshold}
    on, off = (fitted(tmp_path, how, frame, metric, **given, **{"optim.calibrate": how}) for how in ("auto", "off"))
    notes = [predictor.history["note"].str.contains("temperature").sum() for predictor in (on, off)]
    assert notes == [1, 0]
    new = make_table(50, seed=1)
    probabilities = on.predict_proba(new)
    assert not np.allclose(probabilities, off.predict_proba(new))
    again = Predictor.load(on.path, verbosity=0)
    pd.testing.assert_frame_equal(again.predict_proba(new), probabilities)
    pd.testing.assert_series_equal(again.predict(new), on.predict(new))
    kept = on.history.kept_scores
    assert {name: again.evaluate(frame.iloc[60:])[name] for name in kept} == kept
    assert on.evaluate(frame.iloc[60:], "log_loss")["log_loss"] < off.evaluate(frame.iloc[60:], "log_loss")["log_loss"]
    assert (on.threshold == 0.4) == (threshold == 0.4)
    positive = probabilities[on.positive_class] > on.threshold
    assert ((on.predict(new) == on.positive_class) == positive).all()


def test_a_regression_does_not_read_it(tmp_path):
    from thermocline.errors import ConfigError

    frame = make_table().assign(y=lambda one: one["x"])
    with pytest.raises(ConfigError, match=r"optim\.calibrate .*regression does not read it"):
        fitted(tmp_path, "numbers", frame, "rmse", **{"optim.calibrate": "off"})
