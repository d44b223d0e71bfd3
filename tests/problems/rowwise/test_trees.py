"""Trees beside the network: fitted at the end, saved without pickle, the same bits after loading and resuming."""

import numpy as np
import pandas as pd
import pytest
import torch

from support.stopping import killed_before
from support.tiny import TINY, make_table
from thermocline import Predictor
from thermocline.problems.rowwise import tree_growth
from thermocline.problems.rowwise import trees as module
from thermocline.problems.rowwise.tree_conversion import ConversionError

ROWS = 150


@pytest.fixture(scope="module", autouse=True)
def few_trees():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tree_growth, "MOST", 25)
        yield


def fit(frame, *arguments, label="y", **options):
    return Predictor(label, verbosity=0).fit(frame, *arguments, hyperparameters={**TINY, **options})


def notes(predictor):
    return "\n".join(predictor.history["note"])


def numbers(rows=ROWS):
    rng = np.random.default_rng(3)
    frame = pd.DataFrame({"a": rng.normal(size=rows), "b": rng.choice(list("uvwx"), size=rows), "w": 1.0})
    frame["y"] = np.where(frame["b"].isin(["u", "x"]), frame["a"], -frame["a"]) + 0.01 * rng.normal(size=rows)
    frame.loc[::9, "a"] = np.nan
    return frame


@pytest.fixture(scope="module")
def blended():
    return fit(make_table(ROWS))


def test_a_blend_predicts_and_loads_with_the_same_bits(blended, tmp_path, monkeypatch):
    frame = make_table(40, seed=1)
    frame.loc[3, "x"], frame.loc[4, "colour"] = np.nan, "purple"
    assert "blend: trees 0." in notes(blended)
    assert ", with trees (0." in blended.history["note"].iloc[-1]
    before = blended.predict_proba(frame)
    blended.save(tmp_path / "saved")
    assert not list((tmp_path / "saved").rglob("*.pkl"))
    for name in ("HistGradientBoostingClassifier", "HistGradientBoostingRegressor"):
        monkeypatch.delattr(f"sklearn.ensemble.{name}")  # nothing after loading needs them
    pd.testing.assert_frame_equal(Predictor.load(tmp_path / "saved").predict_proba(frame), before, check_exact=True)


def test_the_network_and_its_features_are_those_without_trees(blended):
    frame = make_table(40, seed=1)
    alone = fit(make_table(ROWS), **{"model.trees": "off"})
    np.testing.assert_array_equal(alone.embed(frame), blended.embed(frame))
    assert "trees" not in notes(alone)
    assert not alone.predict_proba(frame).equals(blended.predict_proba(frame))
    model, own = (one._fitted().model for one in (alone, blended))
    assert model.trees is None
    assert not [name for name, _ in own.named_parameters() if name.startswith("trees")]
    assert all(torch.equal(value, own.state_dict()[name]) for name, value in model.state_dict().items())


def test_a_resumed_run_ends_with_the_same_trees(blended, tmp_path):
    options = {"hyperparameters": {**TINY, "env.checkpoint_every": 1}, "resume": True}
    with killed_before(6):
        Predictor("y", path=tmp_path / "run", verbosity=0).fit(make_table(ROWS), **options)
    again = Predictor("y", path=tmp_path / "run", verbosity=0).fit(make_table(ROWS), **options)
    frame = make_table(40, seed=1)
    pd.testing.assert_frame_equal(again.predict_proba(frame), blended.predict_proba(frame), check_exact=True)


def test_numbers_are_blended_and_what_validates_is_scored():
    predictor = fit(numbers())
    assert "blend: trees" in notes(predictor)
    alone = fit(numbers(), **{"model.trees": "off"})
    frame = numbers(60)
    assert predictor.evaluate(frame)["rmse"] < alone.evaluate(frame)["rmse"]
    assert predictor.history["val_rmse"].iloc[-1] < alone.history["val_rmse"].iloc[-1]


def test_few_rows_and_several_labels_have_no_trees():
    assert "trees" not in notes(fit(make_table(60)))
    frame = make_table(60)
    frame["q"] = (frame["x"] > 0).astype(int)
    frame["y"] = (frame["y"] == "yes").astype(int)
    assert "no trees beside the network: there are several labels" in notes(
        fit(frame, label=["y", "q"], **{"model.trees": "on"})
    )
    assert "blend" in notes(fit(make_table(80), **{"model.trees": "on"}))


def test_explain_says_that_trees_will_be_fitted(capsys):
    Predictor("y").explain(make_table(ROWS), hyperparameters=TINY)
    assert "trees are fitted to the table's columns at the end" in capsys.readouterr().out


def test_trees_that_cannot_be_read_are_left_out_with_a_note(monkeypatch):
    def fail(*_):
        raise ConversionError("the trees cannot be read")

    monkeypatch.setattr(module, "converted", fail)
    predictor = fit(make_table(ROWS))
    assert "trees: none (the trees cannot be read; another version of scikit-learn may help)" in notes(predictor)
    assert predictor._fitted().model.trees is None
