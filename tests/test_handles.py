"""Handles of a fitted predictor, what `predict` takes, and the contract of scikit-learn's estimators."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
import torch

from support.tiny import TINY, make_table, told
from thermocline import Predictor
from thermocline.errors import ArgumentError, ConfigError, DataError, NotFittedError

OPTIONS = {**TINY, "optim.max_epochs": 1}


@pytest.fixture(scope="module")
def frame():
    return make_table(48)


@pytest.fixture(scope="module")
def fitted(frame):
    return Predictor("y", verbosity=0).fit(frame, hyperparameters=OPTIONS)


@pytest.fixture(scope="module")
def numbers(frame):
    return Predictor("x", verbosity=0).fit(frame.drop(columns="y"), hyperparameters=OPTIONS)


HANDLES = ["model", "classes_", "feature_names_in_", "n_features_in_", "plan", "history"]


@pytest.mark.parametrize("name", HANDLES)
def test_handles_are_not_there_before_fit(name):
    predictor = Predictor("y")
    assert not hasattr(predictor, name)
    assert "not fitted" in told(NotFittedError, RuntimeError, lambda: getattr(predictor, name))


def test_handles(fitted, frame):
    assert isinstance(fitted.model, torch.nn.Module)
    fitted.model.train()
    assert not fitted.model.training
    assert fitted.classes_.tolist() == ["no", "yes"] == list(fitted.predict_proba(frame).columns)
    assert fitted.feature_names_in_.tolist() == ["x", "z", "colour"]
    assert fitted.n_features_in_ == 3
    assert fitted.eval_metric == "roc_auc"
    assert fitted.predict(frame[fitted.feature_names_in_]).equals(fitted.predict(frame))


@pytest.mark.parametrize(
    ("labels", "dtype"),
    [([0, 1, 2], "int64"), ([True, False], "bool"), (["a", "b"], "object"), ([0.5, 1.5], "float64")],
)
def test_classes_are_as_in_the_data(frame, labels, dtype):
    cells = (labels * 48)[:48]
    predictor = Predictor("y", "classification", verbosity=0).fit(frame.assign(y=cells), hyperparameters=OPTIONS)
    assert predictor.classes_.dtype == dtype
    assert predictor.classes_.tolist() == sorted(labels)
    assert set(predictor.predict(frame)) <= set(predictor.classes_)


def test_a_number_has_no_classes(numbers):
    assert not hasattr(numbers, "classes_")
    with pytest.raises(AttributeError, match="'x' is a regression label"):
        numbers.classes_  # noqa: B018


def test_arrays(fitted, numbers, frame):
    assert np.array_equal(fitted.predict(frame, as_numpy=True), fitted.predict(frame).to_numpy())
    assert np.array_equal(fitted.predict_proba(frame, as_numpy=True), fitted.predict_proba(frame).to_numpy())
    assert numbers.predict(frame, as_numpy=True).dtype == np.float64
    assert "as_numpy is True or False" in told(ConfigError, ValueError, lambda: fitted.predict(frame, as_numpy="yes"))


@pytest.mark.parametrize("row", [0, 7])
def test_one_row_in_any_form(fitted, frame, row):
    expected = fitted.predict_proba(frame).iloc[row].tolist()
    cells = frame.iloc[row].to_dict()
    forms = [cells, [cells], {name: [cell] for name, cell in cells.items()}, frame.iloc[row], frame.iloc[[row]]]
    for form in forms:
        assert fitted.predict_proba(form).iloc[0].tolist() == pytest.approx(expected, abs=1e-7)
    assert fitted.predict(frame.iloc[row]).index.tolist() == [row]


def test_no_rows(fitted, numbers, frame):
    for empty in ([], frame.head(0), frame.head(0).to_dict("list")):
        assert fitted.predict(empty).tolist() == []
        assert fitted.predict_proba(empty, as_numpy=True).shape == (0, 2)
        assert numbers.predict(empty).dtype == np.float64


def test_a_column_is_no_row(fitted, frame):
    assert "to_frame()" in told(DataError, ValueError, lambda: fitted.predict(frame["x"]))


def test_the_device_of_a_loaded_one(fitted, frame, tmp_path):
    fitted.save(tmp_path / "m")
    for device in ("cpu", "auto", torch.device("cpu")):
        assert Predictor.load(tmp_path / "m", device=device).predict(frame).equals(fitted.predict(frame))
    for device in ("cuda:99", "gpu", 3, None):
        message = told(ConfigError, ValueError, lambda device=device: Predictor.load(tmp_path / "m", device=device))
        assert repr(str(device)) in message
        assert "'cpu'" in message


# -- the contract of estimators


ARGUMENTS = {
    "label": ["a", "b"],
    "problem_type": "multi_label",
    "eval_metric": "f1_macro",
    "path": "~/nowhere",
    "sample_weight": "w",
    "verbosity": 0,
}


def test_a_clone_has_the_same_arguments():
    from sklearn.base import clone

    predictor = Predictor(**ARGUMENTS)
    assert clone(predictor).get_params() == predictor.get_params()
    assert predictor.get_params()["problem_type"] == "multilabel"
    assert str(clone(Predictor("y", "binary", positive_class="no"))) == "Predictor(label='y': not fitted)"


def test_a_clone_is_not_fitted_and_fits_alike(fitted, frame):
    from sklearn.base import clone

    again = clone(fitted)
    assert not hasattr(again, "model")
    again.fit(frame, hyperparameters=OPTIONS)
    assert again.predict_proba(frame).equals(fitted.predict_proba(frame))


def test_arguments_are_set_for_the_next_fit(frame):
    predictor = Predictor("y", verbosity=0).fit(frame, hyperparameters=OPTIONS)
    assert predictor.set_params(eval_metric="acc", path="elsewhere") is predictor
    assert predictor.get_params()["eval_metric"] == "acc"
    assert predictor.path.name == "elsewhere"
    assert predictor.eval_metric == "roc_auc"  # of the model that is there
    predictor.set_params(path=None).fit(frame, hyperparameters=OPTIONS)
    assert predictor.eval_metric == "accuracy"


@pytest.mark.parametrize(
    ("params", "error", "builtin", "said"),
    [
        ({"labl": "z"}, ArgumentError, TypeError, "Did you mean 'label'"),
        ({"problem_type": "regresion"}, ConfigError, ValueError, "regression"),
        ({"verbosity": -1}, ConfigError, ValueError, "verbosity"),
    ],
)
def test_arguments_that_cannot_be_set(params, error, builtin, said):
    predictor = Predictor("y")
    before = predictor.get_params()
    assert said in told(error, builtin, lambda: predictor.set_params(**params))
    assert predictor.get_params() == before


def test_more_score_is_better(fitted, numbers, frame):
    assert fitted.score(frame) == fitted.evaluate(frame)["roc_auc"]
    assert fitted.score(frame.drop(columns="y"), frame["y"]) == fitted.score(frame)
    assert numbers.score(frame) == -numbers.evaluate(frame)["rmse"] < 0


def test_cross_validation(frame):
    from sklearn.model_selection import StratifiedKFold, cross_val_score
    from sklearn.model_selection._split import check_cv

    predictor = Predictor("y", "binary", verbosity=0)
    scores = cross_val_score(
        predictor, frame.drop(columns="y"), frame["y"], cv=2, params={"hyperparameters": OPTIONS}, error_score="raise"
    )
    assert scores.shape == (2,)
    assert scores.min() > 0.6
    from sklearn.base import is_classifier, is_regressor

    assert is_classifier(predictor)
    assert is_regressor(Predictor("y", "regression"))
    assert isinstance(check_cv(2, frame["y"], classifier=is_classifier(predictor)), StratifiedKFold)


# -- pickles


def _pickled(value):
    return pickle.loads(pickle.dumps(value))


@pytest.mark.parametrize("how", [_pickled, copy.deepcopy, copy.copy])
def test_copies_are_whole_and_apart(fitted, frame, how):
    again = how(fitted)
    assert again.get_params() == fitted.get_params()
    assert again.predict_proba(frame).equals(fitted.predict_proba(frame))
    assert again.history.equals(fitted.history)
    assert again._identity == fitted._identity
    assert again.model is not fitted.model


@pytest.mark.parametrize("how", [_pickled, copy.deepcopy])
def test_an_unfitted_one(how):
    again = how(Predictor(**ARGUMENTS))
    assert again.get_params() == Predictor(**ARGUMENTS).get_params()
    assert not hasattr(again, "plan")


def test_a_pickle_holds_the_files_that_save_writes(fitted, tmp_path):
    state = fitted.__getstate__()
    folder = fitted.save(tmp_path / "m")
    assert state["fitted"].files["model.safetensors"] == (folder / "model.safetensors").read_bytes()
    assert b"torch" not in pickle.dumps(fitted)  # no tensor is pickled


def test_joblib(fitted, frame, tmp_path):
    import joblib

    joblib.dump(fitted, tmp_path / "p.joblib")
    assert joblib.load(tmp_path / "p.joblib").predict(frame).equals(fitted.predict(frame))


def test_a_multilabel_row(frame):
    several = frame.assign(a=(frame["x"] > 0).astype(int), b=frame["z"] > 0).drop(columns="y")
    predictor = Predictor(["a", "b"], verbosity=0).fit(several, hyperparameters=OPTIONS)
    assert predictor.classes_.tolist() == ["a", "b"]
    assert predictor.predict(several.iloc[2]).shape == (1, 2)
    assert predictor.predict(several, as_numpy=True).shape == (48, 2)
    assert isinstance(predictor.predict(several.iloc[2]), pd.DataFrame)
