"""Methods, arguments and metrics of other libraries, written by habit, are errors that say what is written here."""

from __future__ import annotations

import copy
import inspect
import pickle

import numpy as np
import pytest
import torch
from sklearn import metrics

from support.tiny import TINY, make_table, told
from thermocline import Predictor
from thermocline.config.foreign_calls import foreign_methods
from thermocline.data.tables import as_frame
from thermocline.errors import ArgumentError, ConfigError, DataError

FRAME = make_table(40)


@pytest.fixture(scope="module")
def predictor():
    return Predictor("y", verbosity=0).fit(FRAME, hyperparameters={**TINY, "optim.max_epochs": 1})


# -- arguments


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda p: Predictor(target="y"),
            "no argument 'target'. It is an argument, `Predictor(label)`.",
        ),
        (lambda p: Predictor("y", model="bert-base-uncased"), "hyperparameters={'model.text.checkpoint': …}"),
        (lambda p: Predictor("y", batch_size=8), "hyperparameters={'env.batch_size': …}"),
        (lambda p: Predictor("y", presets="offline"), "`fit(presets=…)`"),
        (lambda p: Predictor("y", eval_metrics="f1"), "Did you mean 'eval_metric'?"),
        (lambda p: Predictor("y", output_dir="out"), "`Predictor(label, path=…)`"),
        (lambda p: p.fit(FRAME, epochs=3), "hyperparameters={'optim.max_epochs': …}"),
        (lambda p: p.fit(FRAME, lr=1e-3), "hyperparameters={'optim.lr': …}"),
        (lambda p: p.fit(FRAME, optim_lr=1e-3), "hyperparameters={'optim.lr': …}"),
        (lambda p: p.fit(FRAME, holdout_frac=0.1), "hyperparameters={'data.valid_fraction': …}"),
        (lambda p: p.fit(FRAME, preset="offline"), "Did you mean 'presets'?"),
        (lambda p: p.fit(FRAME, hyperparameter_tune_kwargs={}), "`fit(search={'trials': 20})`"),
        (lambda p: p.fit(FRAME, sample_weight=[1] * 40), "`Predictor(label, sample_weight=…)`"),
        (lambda p: p.fit(FRAME, foo=1), "It takes train_data, tuning_data, presets"),
        (
            lambda p: p.fit(X=FRAME, y=FRAME),
            "It is an argument, `fit(X, y)`, by position. fit takes no argument 'y'",
        ),
        (lambda p: p.fit(FRAME, FRAME, FRAME, FRAME), "fit((X, y), (X_val, y_val))"),
        (lambda p: p.evaluate(FRAME, metric="f1"), "Did you mean 'metrics'?"),
        (lambda p: p.predict(FRAME, batch_size=4), "hyperparameters={'env.eval_batch_size': …}"),
        (lambda p: p.predict(FRAME, as_pandas=False), "Results are always those of pandas"),
        (lambda p: Predictor.load("model", map_location="cpu"), "load takes no argument 'map_location'. It takes path"),
    ],
)
def test_arguments_by_other_names(predictor, call, words):
    assert words in told(ArgumentError, TypeError, lambda: call(predictor))


def test_signatures_and_docstrings_stay():
    assert list(inspect.signature(Predictor.fit).parameters)[:3] == ["self", "train_data", "tuning_data"]
    assert next(iter(inspect.signature(Predictor).parameters)) == "label"
    assert Predictor.load.__doc__.startswith("Load a saved predictor")
    with pytest.raises(TypeError, match="'label'"):
        Predictor()


# -- methods and attributes


def test_methods_of_others_are_answered(predictor):
    for name, ours in foreign_methods().items():
        assert not hasattr(predictor, name)
        with pytest.raises(AttributeError) as error:
            getattr(predictor, name)
        assert str(error.value) == f"Predictor has no attribute {name!r}. Here: {ours}."
        assert error.value.name == name


def test_misspelled_methods():
    with pytest.raises(AttributeError, match="Did you mean 'predict' or 'predict_proba'"):
        Predictor("y").predic  # noqa: B018
    for name in ("_hidden", "__len__"):
        with pytest.raises(AttributeError, match=f"no attribute '{name}'"):
            getattr(Predictor("y"), name)


def test_a_property_that_fails_says_why(monkeypatch):
    def broken(self):
        raise AttributeError("from inside")

    monkeypatch.setattr(Predictor, "plan", property(broken))
    with pytest.raises(AttributeError, match="from inside"):
        Predictor("y").plan  # noqa: B018


def test_copies_and_pickles_are_as_before(predictor):
    for again in (copy.copy(predictor), copy.deepcopy(predictor), pickle.loads(pickle.dumps(predictor))):
        assert again.predict(FRAME).equals(predictor.predict(FRAME))


# -- metrics


@pytest.mark.parametrize("given", [metrics.f1_score, metrics.make_scorer(metrics.f1_score)])
def test_metrics_of_scikit_learn_are_those_of_the_same_name(predictor, given):
    assert Predictor("y", eval_metric=given).eval_metric == "f1_score"
    for asked in (given, [given]):
        assert predictor.evaluate(FRAME, asked) == {"f1_score": predictor.evaluate(FRAME, "f1")["f1"]}


# -- data


def test_weights_are_a_column():
    message = told(ConfigError, ValueError, lambda: Predictor("y", sample_weight=np.ones(40)))
    assert "frame.assign(weight=weights)" in message


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (
            {"train": FRAME, "test": FRAME},
            "under 'train', 'test': pass one of them, such as data['train']",
        ),
        ({"data": np.zeros((3, 2)), "target": np.zeros(3)}, "It holds tables under 'data'"),
        (torch.utils.data.DataLoader([1]), "Pass the table that it is made from"),
        (["a text", "another"], "Texts and images are values of a column: pass `{'column': values}`"),
        (torch.zeros(3, 2), "Columns need names"),
    ],
)
def test_data_of_other_libraries(data, words):
    assert words in told(DataError, ValueError, lambda: as_frame(data))


def test_a_text_in_place_of_data(predictor):
    message = told(DataError, ValueError, lambda: predictor.predict("I liked the film"))
    assert "A text is a value of a column: pass `{'column': [text]}`" in message
