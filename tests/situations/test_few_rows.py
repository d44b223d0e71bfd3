"""So few rows that scores are chance: a warning, before training."""

from __future__ import annotations

import warnings

import pytest

from support.tiny import TINY, make_table
from thermocline import Predictor
from thermocline.errors import ThermoclineWarning


def explain(frame, tuning=None):
    return Predictor("y", verbosity=0).explain(frame, tuning, hyperparameters={"env.device": "cpu"})


def three(rows=3):
    return make_table(rows).assign(y=["yes", "no", "yes", "no", "yes", "no", "yes", "no"][:rows])


def test_three_rows_are_warned_of_and_fit():
    with pytest.warns(ThermoclineWarning, match=r"only 2 rows to train on, and 1 to validate: scores .* chance"):
        predictor = Predictor("y", verbosity=0).fit(three(), hyperparameters={**TINY, "optim.max_epochs": 1})
    assert len(predictor.predict(three())) == 3


@pytest.mark.parametrize(("rows", "train"), [(2, "There is only 1 row to"), (4, "are only 2 rows"), (5, "only 3 rows")])
def test_other_small_numbers(rows, train):
    with pytest.warns(ThermoclineWarning, match=train):
        explain(three(rows))


def test_few_rows_with_tuning_data_too():
    with pytest.warns(ThermoclineWarning, match="only 3 rows to train on, and 60 to validate"):
        explain(three(), make_table(60))


def test_more_rows_are_not():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        explain(three(8))
