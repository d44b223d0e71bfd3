"""Which form of features is taken: the first within a standard error of the best."""

import re

import numpy as np
import pandas as pd
import pytest

from thermocline.problems.rowwise.form_judge import LinearFormJudge
from thermocline.problems.rowwise.target import RowTarget


def judged(kind, seed=0, n=200):
    """A judge of labels that follow `signal`, and the signal."""
    rng = np.random.default_rng(seed)
    signal = rng.normal(size=(n, 3))
    frame = pd.DataFrame(signal > 0, columns=["a", "b", "c"]).astype(int)
    if kind == "multilabel":
        label = ["a", "b", "c"]
    else:
        label = "y"
        values = signal[:, 0] if kind == "regression" else signal[:, : 2 if kind == "binary" else 3].argmax(axis=1)
        frame = pd.DataFrame({"y": values if kind == "regression" else np.array(list("pqr"))[values]})
    return LinearFormJudge(RowTarget.of(frame, label, kind), frame, seed), signal


@pytest.mark.parametrize("kind", ["binary", "multiclass", "multilabel", "regression"])
def test_features_that_tell_more_are_taken_and_else_the_cheapest(kind):
    judge, signal = judged(kind)
    rng = np.random.default_rng(1)
    noise, more = rng.normal(size=(200, 40)), rng.normal(size=(200, 5))
    rows = judge.rows(200)
    chosen, why = judge.choose(rows, {"poor": [noise], "good": [1e3 * signal, noise], "best": [signal, noise, more]})
    assert chosen == "good"
    assert "a linear model of 200 rows misses poor 1" in why
    assert judge.choose(rows, {"one": [noise], "other": [noise[:, ::-1]]})[0] == "one"
    assert judge.choose(rows, {"one": [noise], "other": [signal]}) == judge.choose(
        rows, {"one": [noise], "other": [signal]}
    )


def test_a_narrow_block_weighs_as_much_as_a_wide_one():
    judge, signal = judged("regression")
    noise = np.random.default_rng(1).normal(size=(200, 300))
    rows = judge.rows(200)
    missed = judge.choose(rows, {"one": [signal[:, :1], noise], "alone": [np.hstack([signal[:, :1], noise])]})[1]
    one, alone = map(int, re.findall(r"(\d+) %", missed))
    assert one < alone / 2


def test_rows_are_a_sample_of_the_seed_and_labels_may_be_alike():
    judge, signal = judged("binary")
    rows = judge.rows(50)
    assert len(rows) == 50
    assert (np.diff(rows) > 0).all()
    np.testing.assert_array_equal(rows, judged("binary")[0].rows(50))
    alike = LinearFormJudge(judge.target, judge.frame.assign(y="p"), 0)
    assert alike.choose(rows, {"one": [signal[rows]], "two": [signal[rows]]}) == (
        "one",
        "the labels of the training rows do not differ",
    )
