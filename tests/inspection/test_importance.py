"""Permutation importance: the same as shuffling by hand, without running a tower more often than needed."""

from __future__ import annotations

import math
import random

import matplotlib
import numpy as np
import pandas as pd
import pytest
import torch

from support.tiny import TINY, make_table, told
from thermocline import Predictor
from thermocline.errors import ConfigError, DataError, MissingColumnError, NotFittedError
from thermocline.inspection.importance import Shuffling
from thermocline.inspection.importance_table import Importance, ImportanceRow

matplotlib.use("Agg")


def by_hand(predictor, frame, columns, metric, *, repeats, seed=0):
    """What is lost, from whole predictions of shuffled frames."""
    base = predictor.evaluate(frame, metric)[metric]
    lost = []
    for order in Shuffling(repeats=repeats, seed=seed).permutations(len(frame)):
        shuffled = frame.copy()
        for name in columns:
            shuffled[name] = frame[name].to_numpy()[order]
        lost.append(base - predictor.evaluate(shuffled, metric)[metric])
    return lost


@pytest.mark.parametrize("columns", [["review"], ["img"], ["x"], ["review", "colour"]], ids="+".join)
def test_it_is_what_shuffling_by_hand_gives(fitted_mixed, mixed, columns):
    found = fitted_mixed.importance(mixed, "neg_log_loss", columns=columns, groups={"unit": columns}, repeats=2, seed=3)
    wanted = by_hand(fitted_mixed, mixed, columns, "neg_log_loss", repeats=2, seed=3)
    assert found["unit"].lost == pytest.approx(wanted, abs=1e-5)
    assert any(abs(value) > 1e-4 for value in wanted)


def test_a_tower_of_one_column_is_run_once(fitted_mixed, mixed):
    runs = dict.fromkeys(fitted_mixed.model.towers, 0)
    hooks = []
    for name, tower in fitted_mixed.model.towers.items():

        def counted(_module, given, _out, name=name):
            runs[name] += len(next(iter(given[0].values())))

        hooks.append(tower.register_forward_hook(counted))
    fitted_mixed.importance(mixed, columns=["review", "img", "x", "colour"], repeats=2)
    for hook in hooks:
        hook.remove()
    assert runs == {"text": len(mixed), "image": len(mixed), "table": (1 + 2 * 2) * len(mixed)}


def test_the_column_that_decides_is_first_and_one_that_is_constant_is_worth_nothing(fitted_table, fitted_mixed, mixed):
    found = fitted_table.importance(make_table(80, seed=1))
    assert found.rows[0].column == "x"
    assert found["x"].clear
    assert found["x"].importance > 0.1
    assert [row.importance for row in found] == sorted((row.importance for row in found), reverse=True)
    same = fitted_mixed.importance(mixed, columns="same")["same"]
    assert same.lost == (0.0,) * 5
    assert same.remark == "the same in all rows"


def test_names_of_rows_do_not_matter(fitted_table):
    test = make_table(20, seed=1)
    assert fitted_table.importance(test.set_index(test.index * 0)).rows == fitted_table.importance(test).rows


def test_less_of_an_error_is_better_so_what_is_lost_is_above_0(fitted_table):
    test = make_table(80, seed=1)
    names = ["x"]
    assert fitted_table.importance(test, "log_loss", columns=names)["x"].importance == pytest.approx(
        fitted_table.importance(test, "neg_log_loss", columns=names)["x"].importance
    )
    assert fitted_table.importance(test, "log_loss", columns=names)["x"].importance > 0


def test_rows_are_drawn_by_the_seed_and_said(fitted_table):
    test = make_table(80, seed=1)
    one, other = (fitted_table.importance(test, max_rows=30, seed=seed, columns="x") for seed in (0, 1))
    assert one.n_rows == 30
    assert one.notes == ("30 of 80 rows, drawn with seed 0: max_rows=30",)
    assert one.rows != other.rows
    assert one.rows == fitted_table.importance(test, max_rows=30, columns=["x", "z"]).rows[:1]  # others do not matter
    assert fitted_table.importance(test, max_rows=None).notes == ()


def test_labels_may_be_beside_and_nothing_of_the_callers_is_changed(fitted_table, capsys):
    test = make_table(20, seed=1)
    before, states = test.copy(), (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state())
    beside = fitted_table.importance(test.drop(columns="y"), test["y"])
    assert beside.rows == fitted_table.importance(test).rows
    pd.testing.assert_frame_equal(test, before)
    assert random.getstate() == states[0]
    assert np.random.get_state()[1].tolist() == states[1]
    assert torch.equal(torch.get_rng_state(), states[2])
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ({"columns": "colr"}, MissingColumnError, "Did you mean 'colour'?"),
        ({"columns": "y"}, ConfigError, "which is the label"),
        ({"columns": ["x", "x"]}, ConfigError, "twice"),
        ({"columns": []}, ConfigError, "empty list"),
        ({"columns": 3}, ConfigError, "list of names"),
        ({"groups": ["x"]}, ConfigError, "groups maps a name"),
        ({"groups": {"a": ["x"], "b": ["x", "z"]}}, ConfigError, "in two groups"),
        ({"groups": {"x": ["z"]}}, ConfigError, "Rename it"),
        ({"groups": {"a": ["nope"]}}, MissingColumnError, "groups['a'] names 'nope'"),
        ({"repeats": 0}, ConfigError, "repeats is a whole number of at least 1, not 0"),
        ({"repeats": True}, ConfigError, "repeats"),
        ({"max_rows": 1}, ConfigError, "max_rows"),
        ({"seed": -1}, ConfigError, "seed"),
        ({"metric": "rmse"}, ConfigError, "rmse"),
        ({"metric": ["accuracy", "f1"]}, ConfigError, "Call importance once for each"),
    ],
)
def test_what_cannot_be_asked_for_is_said(fitted_table, given, error, said):
    builtin = KeyError if error is MissingColumnError else ValueError
    assert said in told(error, builtin, lambda: fitted_table.importance(make_table(8, seed=1), **given))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (make_table(5).drop(columns="y"), "y"),
        (make_table(5).iloc[:0], "empty"),
        (make_table(5).iloc[:1], "at least two"),
        (make_table(60).query("y == 'no'").head(4), "not defined"),
    ],
    ids=["no labels", "no rows", "one row", "one class"],
)
@pytest.mark.filterwarnings("ignore")
def test_rows_that_cannot_be_used_are_said(fitted_table, data, said):
    assert said in told(DataError, ValueError, lambda: fitted_table.importance(data))


def test_a_column_that_the_model_does_not_read_is_said():
    train = make_table().assign(nothing=None)
    made = Predictor("y", verbosity=0).fit(train, hyperparameters=TINY | {"optim.max_epochs": 1})
    assert "does not read" in told(ConfigError, ValueError, lambda: made.importance(train, columns="nothing"))


def test_boxes_are_found_in_one_column_and_a_predictor_has_to_be_fitted(fitted_boxes, shapes):
    assert "reads one, its images" in told(ConfigError, ValueError, lambda: fitted_boxes.importance(shapes))
    told(NotFittedError, RuntimeError, lambda: Predictor("y").importance(make_table()))


def test_the_table_prints_in_80_columns_and_draws(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    rows = (
        ImportanceRow("a$b <i>", "text", (0.3, 0.2)),
        ImportanceRow("a column of a very long name that no table of eighty has room for", "numeric", (0.01, -0.01)),
        ImportanceRow("once", "image", (0.5,)),
    )
    made = Importance("accuracy", 0.91, 400, 2, rows)
    assert max(map(len, str(made).splitlines())) <= 80
    assert "within 2 SE of 0" in str(made)
    assert repr(made) == str(made)
    assert "<i>" not in made._repr_html_()
    assert "&lt;i&gt;" in made._repr_html_()
    assert made._repr_html_().count("<img class=bar") == len(made.rows)
    assert [patch.get_width() for patch in made.plot().patches] == pytest.approx([0.5, 0.0, 0.25])
    frame = made.to_frame()
    assert frame["clear"].tolist()[:2] == [True, False]
    assert frame["clear"].isna().tolist() == [False, False, True]
    assert math.isnan(made["once"].error)
