"""The two estimators in scikit-learn's own checks and tools."""

from __future__ import annotations

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.exceptions import NotFittedError as SklearnNotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from support.tiny import TINY, make_table, told
from thermocline import Predictor, ThermoclineClassifier, ThermoclineRegressor
from thermocline.errors import ConfigError, LabelError, NotFittedError

OPTIONS = {**TINY, "optim.max_epochs": 1, "model.trees": "off"}
CHECKED = {
    "optim.max_steps": 1,
    "model.table.width": 4,
    "model.table.blocks": 1,
    "model.table.members": 2,
    "model.trees": "off",
    "env.device": "cpu",
}

FAIL = {
    "check_sample_weight_equivalence_on_dense_data": (
        "some rows are held out for validation, and a repeated row is a row more: a weight of 2 is not two rows"
    )
}
"""The checks of scikit-learn's that the estimators do not pass, and why."""


@parametrize_with_checks(
    [ThermoclineClassifier(hyperparameters=CHECKED), ThermoclineRegressor(hyperparameters=CHECKED)],
    expected_failed_checks=lambda _: FAIL,
)
def test_of_scikit_learn(estimator, check):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of few rows, of unused columns: the tables are made up
        check(estimator)


@pytest.fixture(scope="module")
def frame():
    return make_table(60)


@pytest.fixture(scope="module")
def table(frame):
    return frame.drop(columns="y"), frame["y"]


@pytest.fixture(scope="module")
def classifier():
    return ThermoclineClassifier(hyperparameters=OPTIONS)


def test_it_is_the_predictor(classifier, table, frame):
    x, y = table
    fitted = clone(classifier).fit(x, y)
    same = Predictor("y", "binary", verbosity=0).fit(frame, hyperparameters=OPTIONS)
    assert np.array_equal(fitted.predict_proba(x), same.predict_proba(frame, as_numpy=True))
    assert fitted.predict(x).tolist() == same.predict(frame).tolist()
    assert fitted.score(x, y) == same.evaluate(frame, "accuracy")["accuracy"]
    assert fitted.feature_names_in_.tolist() == list(x)
    assert fitted.classes_.tolist() == ["no", "yes"]
    assert str(fitted.predictor_.plan) == str(same.plan)


def test_weights_count(classifier, table):
    x, y = table
    weight = np.where(y == "yes", 20.0, 1.0)
    chances = [clone(classifier).fit(x, y, sample_weight=one).predict_proba(x)[:, 1] for one in (None, weight)]
    assert chances[1].mean() > chances[0].mean() + 0.1


def test_an_array_and_a_list(classifier, table):
    x, y = table
    numbers = x[["x", "z"]].to_numpy()
    fitted = clone(classifier).fit(numbers, y.to_numpy())
    assert [column.name for column in fitted.predictor_.columns] == ["x0", "x1"]
    assert not hasattr(fitted, "feature_names_in_")
    assert np.array_equal(fitted.predict(numbers.tolist()), fitted.predict(numbers))
    words = np.array([["red", 1.5], ["blue", 2.5]] * 30, dtype=object)
    mixed = clone(classifier).fit(words, y)
    assert [column.kind for column in mixed.predictor_.columns] == ["categorical", "numeric"]


def test_labels_keep_their_dtype(classifier, table):
    x, _ = table
    for labels in (np.arange(60) % 3, np.arange(60) % 2 == 0, np.array(["10", "9"] * 30), np.arange(60) % 2 * 1.0):
        fitted = clone(classifier).fit(x, labels)
        assert fitted.predict(x).dtype == labels.dtype
        assert fitted.classes_.tolist() == np.unique(labels).tolist()


def test_cross_validation_searches_and_pipelines(classifier, table):
    x, y = table
    assert cross_val_score(classifier, x, y, cv=2, error_score="raise").min() > 0.6
    grid = {"hyperparameters__optim.lr": [1e-4, 1e-2], "random_state": [1]}
    search = GridSearchCV(classifier, grid, cv=2, error_score="raise").fit(x, y)
    kept = search.best_estimator_
    assert kept.predictor_.config["optim.lr"] == search.best_params_["hyperparameters__optim.lr"]
    assert kept.hyperparameters | {"optim.lr": 0} == OPTIONS | {"optim.lr": 0}
    assert classifier.hyperparameters == OPTIONS  # untouched
    numbers = x[["x", "z"]]
    pipeline = make_pipeline(StandardScaler(), clone(classifier)).fit(numbers, y)
    assert pipeline.predict_proba(numbers).shape == (60, 2)
    assert pipeline.score(numbers, y) > 0.6


@pytest.mark.parametrize("ensemble", [True, False])
def test_calibration(classifier, table, ensemble):
    x, y = table
    calibrated = CalibratedClassifierCV(classifier, cv=2, ensemble=ensemble).fit(x, y, sample_weight=np.ones(60))
    assert np.allclose(calibrated.predict_proba(x).sum(axis=1), 1)


def test_a_regressor(table):
    x, _ = table
    fitted = ThermoclineRegressor(hyperparameters=OPTIONS).fit(x[["z", "colour"]], 3 * x["z"] + 1)
    assert fitted.score(x[["z", "colour"]], 3 * x["z"] + 1) > 0.5
    assert not hasattr(fitted, "classes_")


def test_seeds(classifier, table):
    x, y = table

    def chances(state):
        return clone(classifier).set_params(random_state=state).fit(x, y).predict_proba(x)

    assert np.array_equal(chances(None), chances(0))
    assert np.array_equal(chances(np.random.RandomState(3)), chances(np.random.RandomState(3)))
    assert not np.array_equal(chances(1), chances(2))


def test_pickles(classifier, table):
    x, y = table
    fitted = clone(classifier).fit(x, y)
    again = pickle.loads(pickle.dumps(fitted))
    assert np.array_equal(again.predict_proba(x), fitted.predict_proba(x))
    assert repr(again) == repr(fitted)


def test_one_hyperparameter_by_name(classifier):
    made = clone(classifier).set_params(**{"hyperparameters__optim.lr": 0.5})
    assert made.get_params()["hyperparameters__optim.lr"] == 0.5
    assert "hyperparameters__optim.lr" not in made.get_params(deep=False)
    of_file = ThermoclineClassifier(hyperparameters="options.yaml")
    assert "as a dict" in told(ConfigError, ValueError, lambda: of_file.set_params(**{"hyperparameters__optim.lr": 1}))


def test_what_is_refused(classifier, table):
    x, y = table
    message = told(NotFittedError, RuntimeError, lambda: clone(classifier).predict(x))
    assert "fit(X, y)" in message
    with pytest.raises(SklearnNotFittedError):
        clone(classifier).predict_proba(x)
    assert "one class" in told(LabelError, ValueError, lambda: clone(classifier).fit(x, ["a"] * 60))
    assert "y to be passed" in told(LabelError, ValueError, lambda: clone(classifier).fit(x, None))
    fitted = clone(classifier).fit(x, y)
    with pytest.raises(ValueError, match="same order"):
        fitted.predict(x[["z", "x", "colour"]])
    with pytest.raises(ValueError, match="unseen at fit time"):
        fitted.predict(x.rename(columns={"x": "w"}))
    assert "optim.lr" in told(
        ConfigError, ValueError, lambda: ThermoclineClassifier(hyperparameters={"optim.lrr": 1}).fit(x, y)
    )


def test_names_of_label_and_weights_give_way_to_columns(classifier, table):
    x, y = table
    both = x.rename(columns={"x": "y", "z": "weight"})
    fitted = clone(classifier).fit(both, y, sample_weight=np.ones(60))
    assert fitted.predictor_.label == "y_"
    assert fitted.predictor_.columns.used == ["y", "weight", "colour"]


def test_a_frame_of_numbered_columns(classifier, table):
    x, y = table
    numbered = pd.DataFrame(x[["x", "z"]].to_numpy())
    assert clone(classifier).fit(numbered, y).predict(numbered).shape == (60,)
