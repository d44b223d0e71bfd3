"""What travels can be pickled and copied, and is the same afterwards."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace

import pytest
import torch

from support.tiny import TINY, make_table, make_texts
from thermocline import Predictor

COPIES = {"pickle": lambda value: pickle.loads(pickle.dumps(value)), "deepcopy": copy.deepcopy}


@pytest.fixture(scope="module")
def fitted(text_folder):
    frame = make_texts().assign(x=range(48))
    options = {**TINY, "model.text.checkpoint": str(text_folder), "optim.schedule_plan": "gradual_unfreeze"}
    predictor = Predictor("y", verbosity=0)
    return predictor.fit(frame, column_types={"review": "text"}, hyperparameters=options), frame


@pytest.mark.parametrize("how", COPIES)
def test_a_predictor(fitted, how):
    predictor, frame = fitted
    again = COPIES[how](predictor)
    assert again.predict_proba(frame).equals(predictor.predict_proba(frame))
    assert again.evaluate(frame) == predictor.evaluate(frame)
    assert str(again.plan) == str(predictor.plan)
    assert again.history.equals(predictor.history)
    with torch.no_grad():
        next(again._fitted().model.parameters()).add_(1.0)
    assert not again.predict_proba(frame).equals(predictor.predict_proba(frame))


def agreeing(y_true, y_pred):
    return float((y_true == y_pred).mean())


@pytest.mark.parametrize("how", COPIES)
def test_with_a_metric_of_the_callers_own(how):
    frame = make_table()
    predictor = Predictor("y", eval_metric=agreeing, verbosity=0).fit(frame, hyperparameters=TINY)
    again = COPIES[how](predictor)
    assert again.evaluate(frame) == predictor.evaluate(frame)
    assert again.score(frame) == predictor.score(frame)


@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("part", ["plan", "columns", "config", "history"])
def test_its_parts(fitted, how, part):
    value = getattr(fitted[0], part)
    str(value)  # what is derived and kept meanwhile does not hinder
    again = COPIES[how](value)
    assert type(again) is type(value)
    assert again.equals(value) if part == "history" else again == value
    assert str(again) == str(value)


@pytest.mark.parametrize("how", COPIES)
def test_a_plan_that_was_explained(how):
    plan = Predictor("y", verbosity=0).explain(make_table(), hyperparameters={**TINY, "optim.lr": 0.01})
    again = COPIES[how](plan)
    assert str(again) == str(plan)
    assert replace(again, estimate=None) == replace(plan, estimate=None)
