"""Linear models of folds: each row is scored by a model that has not seen it."""

import numpy as np
import pandas as pd
import pytest

from support.tiny import told
from thermocline.contracts.probing import FoldScores
from thermocline.errors import LabelError
from thermocline.problems.rowwise.fold_ridge import PENALTIES, FoldRidge
from thermocline.problems.rowwise.folds import FOLDS, RowFolds
from thermocline.problems.rowwise.target import RowTarget

ROWS = 120


def folds_of(frame, label="y", kind=None, weight=None, seed=0):
    target = RowTarget.of(frame, label, kind)
    weight = np.ones(len(frame)) if weight is None else np.asarray(weight, dtype=float)
    return RowFolds(target, target.encode(frame), weight, seed)


def features(rows=ROWS, width=6, seed=0):
    return np.random.default_rng(seed).normal(size=(rows, width)).astype(np.float32)


@pytest.mark.parametrize(("rows", "width"), [(50, 7), (30, 60)])
@pytest.mark.parametrize("penalty", [PENALTIES[0], PENALTIES[3]])
def test_the_closed_form_is_a_regression_of_the_other_folds(rows, width, penalty):
    rng = np.random.default_rng(0)
    x, wanted, weight = rng.normal(size=(rows, width)), rng.normal(size=(rows, 2)), rng.uniform(0.5, 2, rows)
    fold = np.arange(rows) % 5
    found = FoldRidge([x], wanted, weight, fold).scores(penalty)

    share = weight / weight.mean()
    scaled = x - np.average(x, axis=0, weights=weight)
    scaled /= np.sqrt(np.average(scaled**2, axis=0, weights=weight)) * np.sqrt(width)
    ridge = penalty * (share[:, None] * scaled**2).sum() / rows
    own = np.c_[scaled, np.ones(rows)]
    penalties = ridge * np.diag(np.r_[np.ones(width), 0.0])
    for number in range(5):
        seen = fold != number
        left = own[seen].T @ (share[seen, None] * own[seen]) + penalties
        weights = np.linalg.solve(left, own[seen].T @ (share[seen, None] * wanted[seen]))
        np.testing.assert_allclose(found[~seen], own[~seen] @ weights, atol=1e-9)


def test_features_without_the_label_are_no_better_than_none_and_those_with_it_are():
    x = features()
    frame = pd.DataFrame({"y": np.where(x[:, 0] + 0.3 * x[:, 1] > 0, "a", "b")})
    folds = folds_of(frame)
    none, useless, useful = folds.score([]), folds.score([features(seed=1)]), folds.score([x])
    assert none.loss == pytest.approx(np.log(2), abs=0.02)
    assert useless.loss > none.loss - useless.loss_error
    assert useful.loss < none.loss - 5 * useful.loss_error
    assert useful.metric > 0.9 > none.metric
    more, error = none.behind(useful)
    assert more > 5 * error


def test_classes_with_few_rows_and_few_rows_are_scored():
    x = features(30)
    frame = pd.DataFrame({"y": ["a"] * 14 + ["b"] * 14 + ["c"] * 2})
    folds = folds_of(frame, kind="multiclass")
    assert np.isfinite(folds.score([x]).losses).all()
    assert np.bincount(folds._fold[frame["y"] == "b"]).max() <= 3
    tiny = folds_of(frame.iloc[[0, 1, 20, 21]])
    assert tiny.folds == 4
    assert np.isfinite(tiny.score([x[[0, 1, 20, 21]]]).loss)


def test_numbers_are_scored_relative_to_their_variance():
    x = features()
    folds = folds_of(pd.DataFrame({"y": 100 + 7 * x[:, 0] + 0.01 * x[:, 1]}), kind="regression")
    assert folds.loss_name == "error / variance"
    assert folds.score([]).loss == pytest.approx(1.0, abs=0.1)
    assert folds.score([x]).loss < 0.01


def test_each_of_several_labels_counts_alike():
    x = features()
    frame = pd.DataFrame({"a": (x[:, 0] > 0).astype(int), "b": (x[:, 1] > 1).astype(int), "c": 0})
    folds = folds_of(frame, ["a", "b", "c"], "multilabel")
    none, useful = folds.score([]), folds.score([x])
    assert np.isfinite(useful.losses).all()
    assert useful.loss < none.loss - 5 * useful.loss_error


def test_rows_without_weight_are_left_out_and_weights_count():
    x = features()
    frame = pd.DataFrame({"y": np.where(x[:, 0] > 0, "a", "b")})
    weight = np.r_[np.zeros(20), np.ones(50), np.full(50, 3.0)]
    folds = folds_of(frame, weight=weight)
    rows = folds.draw(1000)
    assert rows.tolist() == list(range(20, ROWS))
    scores = folds.over(rows).score([x[rows]])
    assert scores.loss == pytest.approx((scores.losses[:50].sum() + 3 * scores.losses[50:].sum()) / 200)
    assert len(folds.draw(40)) == 40


def test_the_same_seed_gives_the_same_folds_and_scores():
    x = features()
    frame = pd.DataFrame({"y": np.where(x[:, 0] > 0, "a", "b")})
    one, same, other = (folds_of(frame, seed=seed) for seed in (3, 3, 4))
    assert np.array_equal(one.score([x]).losses, same.score([x]).losses)
    assert not np.array_equal(one._fold, other._fold)
    assert one.folds == FOLDS


def test_rows_of_one_label_are_an_error_that_says_so():
    folds = folds_of(pd.DataFrame({"y": ["a"] * 20 + ["b"] * 20}))
    assert "20 rows with a weight above 0 show one" in told(LabelError, ValueError, lambda: folds.over(np.arange(20)))


def test_dead_and_constant_features_do_no_harm():
    x = features()
    x[:, 3:] = 5.0
    folds = folds_of(pd.DataFrame({"y": np.where(x[:, 0] > 0, "a", "b")}))
    assert folds.score([x]).loss < 0.5
    assert folds.score([x[:, 3:]]).loss == pytest.approx(folds.score([]).loss, abs=0.02)


def test_a_metric_that_some_folds_lack_is_the_mean_of_the_others():
    scores = FoldScores(np.ones(4), np.ones(4), np.array([0.5, np.nan, 0.7]))
    assert scores.metric == pytest.approx(0.6)
    assert scores.metric_error == pytest.approx(0.1)
    assert np.isnan(FoldScores(np.ones(4), np.ones(4), np.array([np.nan])).metric)
