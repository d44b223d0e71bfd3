"""Names that users bring along are understood, and what was chosen can be read."""

from __future__ import annotations

from support.tiny import TINY, make_table
from thermocline import Predictor


def test_the_metric_that_was_used_can_be_read(tmp_path):
    predictor = Predictor("y", path=tmp_path / "model", verbosity=0)
    assert predictor.eval_metric is None
    predictor.fit(make_table(), hyperparameters={**TINY, "optim.max_epochs": 1})
    assert predictor.eval_metric == "roc_auc"
    assert Predictor.load(tmp_path / "model", verbosity=0).eval_metric == "roc_auc"
    numbers = make_table().assign(y=lambda frame: frame["x"] * 2)
    predictor = Predictor("y", verbosity=0).fit(numbers, hyperparameters={**TINY, "optim.max_epochs": 1})
    assert predictor.eval_metric == "rmse"
    predictor.fit(make_table(), hyperparameters={**TINY, "optim.max_epochs": 1})  # nobody gave one: chosen anew
    assert predictor.eval_metric == "roc_auc"


def test_a_metric_that_was_given_is_kept_and_named_by_its_own_name():
    predictor = Predictor("y", eval_metric="acc", verbosity=0)
    assert predictor.eval_metric == "acc"
    assert predictor.fit(make_table(), hyperparameters={**TINY, "optim.max_epochs": 1}).eval_metric == "accuracy"
