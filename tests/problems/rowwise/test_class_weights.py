"""Weights of classes: what they are of data, and that everything that is fitted follows them, and no score."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight

from support.stopping import killed_before
from support.tiny import TINY, told
from thermocline import Predictor
from thermocline.errors import ConfigError, ResumeError
from thermocline.problems.rowwise import tree_growth
from thermocline.problems.rowwise.calibration import calibrated
from thermocline.problems.rowwise.target import RowTarget
from thermocline.problems.rowwise.target_options import class_weights

pytestmark = pytest.mark.filterwarnings("ignore:The positive class:thermocline.errors.ThermoclineWarning")


@pytest.fixture(scope="module", autouse=True)
def few_trees():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tree_growth, "MOST", 40)
        yield


def rare(rows=400, seed=0, classes=("often", "rare")):
    """About 11 % of rows are of the second class, which follows `x` roughly."""
    rng = np.random.default_rng(seed)
    x, z = rng.normal(size=rows), rng.normal(size=rows)
    found = (x + rng.normal(size=rows) > 1.7).astype(int)
    return pd.DataFrame({"x": x, "z": z, "y": [classes[one] for one in found]})


def fit(frame, weights, *, label="y", weight=None, path=None, resume=False, types=None, **options):
    made = Predictor(label, path=path, sample_weight=weight, verbosity=0)
    options = {**TINY, "optim.class_weights": weights, **options}
    return made.fit(frame, hyperparameters=options, resume=resume, column_types=types)


# -- what they are


@pytest.mark.parametrize("classes", [("b", "a"), (1, 0), (True, False), (2.5, 0.5)])
def test_balanced_is_scikit_learns(classes):
    frame = rare(classes=classes)
    target = RowTarget.of(frame, "y", "binary")
    wanted = compute_class_weight("balanced", classes=np.array(target.classes), y=frame["y"].to_numpy())
    assert class_weights(target, "balanced", frame, None) == pytest.approx(wanted)
    weight = np.where(frame["y"] == classes[1], 3.0, 1.0)
    found = class_weights(target, "balanced", frame, weight)
    sums = [found[target.classes.index(one)] * weight[frame["y"] == one].sum() for one in classes]
    assert sums[0] == pytest.approx(sums[1])


@pytest.mark.parametrize(
    ("classes", "asked", "wanted"),
    [
        (("no", "yes"), {"yes": 3}, (1.0, 3.0)),
        ((0, 1), {1: 3, 0: 0.5}, (0.5, 3.0)),
        ((0, 1), {"1": 3}, (1.0, 3.0)),
        ((0, 1), {1.0: 3}, (1.0, 3.0)),
        ((False, True), {True: 3}, (1.0, 3.0)),
        ((False, True), {"true": 3}, (1.0, 3.0)),
        (("1", "2"), {2: 3}, (1.0, 3.0)),
        ((0.5, 1.5), {1.5: 3}, (1.0, 3.0)),
    ],
)
def test_classes_are_written_as_in_the_data(classes, asked, wanted):
    frame = rare(40, classes=classes)
    frame.loc[:3, "y"] = classes[1]
    assert class_weights(RowTarget.of(frame, "y", "binary"), asked, frame, None) == wanted


@pytest.mark.parametrize(
    ("asked", "part"),
    [
        ({"raer": 2}, "'raer' is no class of 'y'. Did you mean 'rare'? There are 'often', 'rare'"),
        ({1: 2}, "1 is no class"),
        ({"rare": 0}, "a number above 0, not 0"),
        ({"rare": True}, "a number above 0"),
        ({"rare": "much"}, "a number above 0"),
        ({"rare": 1, "RARE": 2}, "the same class"),
        ("balancd", "it takes 'balanced', a mapping"),
        (["rare"], "it takes 'balanced', a mapping"),
    ],
)
def test_faults_show_before_anything_is_built(asked, part, monkeypatch):
    monkeypatch.setattr("thermocline.problems.rowwise.problem.Rowwise.build", None)
    assert part in told(ConfigError, ValueError, lambda: fit(rare(60), asked))


def test_they_are_for_classes():
    frame = rare(60).assign(y=lambda f: f["x"])
    assert "regression does not read it" in told(ConfigError, ValueError, lambda: fit(frame, "balanced"))


# -- what follows them


def test_everything_that_is_fitted_follows_them_and_scores_do_not():
    train, new = rare(400), rare(2000, 1)
    usual, balanced = fit(train, None), fit(train, "balanced")
    shares = [one.predict_proba(new)["rare"].mean() for one in (usual, balanced)]
    assert shares[0] == pytest.approx((new["y"] == "rare").mean(), abs=0.03)
    assert shares[1] > 2.5 * shares[0]  # with trees, and with a temperature
    recalls = [one.evaluate(new, "recall")["recall"] for one in (usual, balanced)]
    assert recalls[1] > recalls[0] + 0.4
    found = balanced.predict(new)
    wanted = float((found == new["y"]).mean())
    assert balanced.evaluate(new, "accuracy")["accuracy"] == pytest.approx(wanted)
    history = balanced.history
    assert "trees" in history["note"].iloc[-1]


def test_the_probe_that_is_kept_is_of_the_weighted_rows():
    train = rare(500)
    options = {"optim.lr": 1e-9, "optim.max_epochs": 1, "model.trees": "off", "optim.calibrate": "off"}
    for weights, each in ((None, 1.0), ({"rare": 6.0}, 6.0)):
        kept = fit(train, weights, **options)
        weight = np.where(train["y"] == "rare", each, 1.0)
        given = np.average(kept.predict_proba(train)["rare"], weights=weight)
        assert given == pytest.approx(np.average(train["y"] == "rare", weights=weight), abs=0.03)


def test_they_multiply_the_weights_of_rows():
    """Weights of 2 for one class, as a column, by option, or a half each, are the same fit."""
    frame = rare(200).assign(w=lambda f: np.where(f["y"] == "rare", 4.0, 1.0))
    frame["v"] = np.where(frame["y"] == "rare", 2.0, 1.0)
    options = {"model.trees": "off", "optim.calibrate": "off", "optim.refit": "off", "optim.threshold": 0.5}
    made = [
        fit(frame.drop(columns="v"), None, weight="w", **options),
        fit(frame.drop(columns="w"), {"rare": 2.0}, weight="v", **options),
    ]
    one, other = (each._assembly.model.state_dict() for each in made)
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, other[name], rtol=1e-5, atol=1e-6)


def test_labels_count_more_where_a_row_has_them():
    rng = np.random.default_rng(0)
    x, z = rng.normal(size=(2, 500))
    frame = pd.DataFrame({"x": x, "z": z})
    frame["a"] = (x + rng.normal(size=500) > 0).astype(int)
    frame["b"] = (z + rng.normal(size=500) > 2).astype(int)
    usual = fit(frame, None, label=["a", "b"]).predict_proba(frame).mean()
    balanced = fit(frame, "balanced", label=["a", "b"]).predict_proba(frame).mean()
    assert balanced["b"] > 2.5 * usual["b"]
    assert balanced["a"] == pytest.approx(usual["a"], abs=0.08)
    target = RowTarget.of(frame, ["a", "b"])
    share = frame["b"].mean()
    assert class_weights(target, "balanced", frame, None)[1] == pytest.approx((1 - share) / share)
    assert class_weights(target, {"b": 5}, frame, None) == (1.0, 5.0)


def test_a_temperature_goes_by_the_weights():
    """What is right for weighted classes stays as it is; without them it would be taken for too sure of itself."""
    rng = np.random.default_rng(0)
    margin = rng.normal(size=4000) * 2
    truth = (rng.uniform(size=4000) < 1 / (1 + np.exp(-(margin - np.log(8.0))))).astype(np.int64)
    outputs = np.stack([-margin / 2, margin / 2], axis=1).astype(np.float32)
    frame = pd.DataFrame({"y": truth})
    target = RowTarget.of(frame, "y")
    weights = np.where(truth == 1, 8.0, 1.0)
    weighted, _ = calibrated(target, outputs, truth, weights)
    alone, _ = calibrated(target, outputs, truth, None)
    assert weighted.temperature == pytest.approx(1.0, abs=0.08)
    assert alone.temperature > 1.3


def test_texts_words_and_several_classes(text_folder):
    rng = np.random.default_rng(1)
    words = {"a": "alpha", "b": "beta", "c": "gamma"}
    label = rng.choice(["a", "b", "c"], p=[0.75, 0.15, 0.1], size=160)
    texts = [f"the {words[one] if rng.uniform() < 0.6 else words['a']} film" for one in label]
    frame = pd.DataFrame({"review": texts, "y": label})
    options = {"model.text.checkpoint": str(text_folder), "optim.max_epochs": 1, "model.tfidf": "on"}
    usual, balanced = (fit(frame, how, types={"review": "text"}, **options) for how in (None, "balanced"))
    assert "TF-IDF" in "\n".join(balanced.history["note"])
    shares = [one.predict_proba(frame)["a"].mean() for one in (usual, balanced)]
    assert shares[1] < shares[0] - 0.2


# -- saved, resumed


def test_saved_and_resumed(tmp_path):
    frame, weights = rare(150, classes=(False, True)), {True: 4.0}
    options = {"env.checkpoint_every": 1, "optim.max_epochs": 3}
    whole = fit(frame, weights, path=tmp_path / "whole", **options)
    with killed_before(9):
        fit(frame, weights, path=tmp_path / "run", **options)
    for other in ({True: 5.0}, None, "balanced"):
        message = told(
            ResumeError, ValueError, lambda w=other: fit(frame, w, path=tmp_path / "run", resume=True, **options)
        )
        assert "optim.class_weights" in message
    fit(frame, weights, path=tmp_path / "run", resume=True, **options)
    assert (tmp_path / "whole" / "model.safetensors").read_bytes() == (
        tmp_path / "run" / "model.safetensors"
    ).read_bytes()
    again = Predictor.load(tmp_path / "run", verbosity=0)
    assert again.config.optim.class_weights == weights
    assert again._assembly.target.class_weights == (1.0, 4.0)
    pd.testing.assert_frame_equal(again.predict_proba(frame), whole.predict_proba(frame), check_exact=True)


def test_from_a_file_and_the_command_line(tmp_path):
    (tmp_path / "options.yaml").write_text("optim:\n  class_weights: {rare: 3, often: 1}\n")
    frame, options = rare(80), {**TINY, "optim.max_epochs": 1}
    for given in (str(tmp_path / "options.yaml"), "optim.class_weights={rare: 3}"):
        made = Predictor("y", verbosity=0).fit(frame, hyperparameters=[options, given])
        assert made._assembly.target.class_weights == (1.0, 3.0)
    made = Predictor("y", verbosity=0).fit(frame, hyperparameters=[options, "optim.class_weights=balanced"])
    assert made._assembly.target.class_weights[1] > 3
