"""Input that pairs cannot use: each is an error that says what was given, what is allowed and what to do."""

from __future__ import annotations

import pytest

from support.tiny import told
from support.tiny_pairs import make_pairs, options
from thermocline import Predictor
from thermocline.errors import ThermoclineError

KIND = {"problem_type": "similarity", "query": "first", "response": "second", "verbosity": 0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("bad")


def fitting(folder, label="grade", frame=None, kind=None, metric=None, **more):
    given = make_pairs(20) if frame is None else frame
    asked = {**KIND, **(kind or {}), "eval_metric": metric}
    return lambda: Predictor(label, **asked).fit(given, hyperparameters=options(folder, **more))


CONSTRUCTED = {
    "the same column twice": (("grade", {**KIND, "response": "first"}), "name two different columns"),
    "a side is the label": (("first", KIND), "query='first' is the label"),
    "no name of a column": (("grade", {**KIND, "query": 3}), "query is the name of a column"),
    "another kind": (
        ("grade", {**KIND, "problem_type": "regression"}),
        "query='first' is for problem_type='similarity'",
    ),
    "no label of another kind": ((None, {"problem_type": "binary"}), "label is a column name"),
}


@pytest.mark.parametrize("case", CONSTRUCTED)
def test_arguments_that_do_not_fit(case):
    (label, given), said = CONSTRUCTED[case]
    assert said in told(ThermoclineError, Exception, lambda: Predictor(label, **given))


DATA = {
    "a missing column": (lambda f: f.drop(columns="second"), {}, "lacks the column 'second'"),
    "a cell of a side is missing": (
        lambda f: f.assign(second=[None, *f["second"][1:]]),
        {},
        "'second' of train_data is missing in 1 row",
    ),
    "grades all the same": (lambda f: f.assign(grade=3.0), {}, "holds one value only, 3.0"),
    "a missing grade": (
        lambda f: f.assign(grade=[None, *f["grade"][1:]]),
        {},
        "Label 'grade' is missing in 1 of 20 rows",
    ),
    "three classes": (lambda f: f.assign(grade=(["a", "b", "c"] * 7)[:20]), {}, "holds 3 classes"),
    "no two columns": (
        lambda f: f[["first", "grade"]],
        {"kind": {"query": None, "response": None}},
        "1 column of texts or images ('first') for 'query', 'response'",
    ),
    "three columns": (
        lambda f: f[["first", "second", "wrong", "grade"]],
        {"kind": {"query": None, "response": None}},
        "3 columns of texts or images",
    ),
    "a metric of classes": (lambda f: f, {"metric": "f1"}, "'f1' is not for grades. Choose from 'spearman', 'pearson'"),
    "a loss of matches": (lambda f: f, {"optim.loss": "ranking"}, "not for these pairs"),
    "no such loss": (lambda f: f, {"optim.loss": "mse"}, "'mse' is no loss of pairs"),
    "a threshold of grades": (lambda f: f, {"optim.threshold": 0.4}, "optim.threshold=0.4 is for two classes"),
    "a positive class of grades": (
        lambda f: f,
        {"kind": {"positive_class": 1}},
        "is for two classes, and these are grades",
    ),
    "texts read together": (
        lambda f: f,
        {"model.text.pair": "joint"},
        "each side of a pair has an embedding of its own",
    ),
    "micro-batches": (lambda f: f, {"env.micro_batch_size": 4}, "compares the rows of a batch with each other"),
    "no such negative": (lambda f: f, {"data.negative": "nope"}, "lacks the column 'nope'"),
    "the negative is a side": (lambda f: f, {"data.negative": "second"}, "a column has one use"),
    "a side of another type": (lambda f: f, {"types": {"first": "categorical"}}, "A side is text or image"),
    "a linear probe": (lambda f: f, {"optim.head_init": "random"}, "embeddings have no linear probe"),
}


@pytest.mark.parametrize("case", DATA)
def test_data_and_options_that_do_not_fit(case, folder):
    change, more, said = DATA[case]
    more = dict(more)
    asked = {**KIND, **more.pop("kind", {}), "eval_metric": more.pop("metric", None)}
    types = more.pop("types", None)
    frame = change(make_pairs(20))

    def fit():
        made = Predictor("grade", **asked)
        made.fit(frame, hyperparameters=options(folder, **more), column_types=types)

    assert said in told(ThermoclineError, Exception, fit)


def test_use_that_does_not_fit(folder):
    frame = make_pairs(20)
    own = options(folder, **{"optim.max_epochs": 1})
    made = Predictor("grade", **KIND).fit(frame, hyperparameters=own)
    cases = {
        "side='querry' is none of 'query', 'response'. Did you mean 'query'?": lambda: made.embed(frame, side="querry"),
        "have no column 'second', which is the response": lambda: made.search(frame, frame[["first"]]),
        "k is a whole number of at least 1": lambda: made.search(frame, frame, k=0),
        "so there are no probabilities": lambda: made.predict_proba(frame),
        "'accuracy' is not for grades": lambda: made.evaluate(frame, "accuracy"),
        "lacks the column 'grade'": lambda: made.evaluate(frame.drop(columns="grade")),
    }
    for said, call in cases.items():
        found = told(ThermoclineError, Exception, call)
        assert said in found or "label column 'grade'" in found, found
    plain = Predictor("same", "binary", verbosity=0).fit(frame[["first", "same"]], hyperparameters=own)
    assert "has no sides" in told(ThermoclineError, Exception, lambda: plain.embed(frame, side="query"))
    assert "problem_type='similarity' is for pairs" in told(
        ThermoclineError, Exception, lambda: plain.search(frame, frame)
    )
