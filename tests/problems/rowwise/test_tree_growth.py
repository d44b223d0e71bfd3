"""Trees in folds: every row is predicted by trees without it."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from thermocline.problems.rowwise import tree_growth
from thermocline.problems.rowwise.tree_growth import TreeTask, folds_of, grow


def task_of(y, classes, *, weight=None, columns=2, seed=0):
    x = np.random.default_rng(0).normal(size=(len(y), columns)).astype(np.float32)
    x[:, 0] += np.asarray(y, dtype=np.float32)
    return TreeTask(x, 0, np.asarray(y), np.ones(len(y)) if weight is None else weight, classes, seed)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 2), min_size=10, max_size=60), st.integers(0, 9))
def test_folds_hold_each_row_out_once_and_keep_classes_in_proportion(labels, seed):
    folds = folds_of(task_of(labels, 3, seed=seed), np.arange(3))
    assert np.sort(np.concatenate([held for _, held in folds])).tolist() == list(range(len(labels)))
    for train, held in folds:
        assert len(np.intersect1d(train, held)) == 0
        assert len(train) + len(held) == len(labels)
        for label in set(labels):
            share = labels.count(label) / len(folds)
            assert abs(sum(labels[row] == label for row in held) - share) < 2


def test_a_lot_of_cells_or_of_classes_holds_out_the_validation_rows_alone(monkeypatch):
    task = task_of([0, 1] * 20, 2)
    monkeypatch.setattr(tree_growth, "MOST", 30)
    monkeypatch.setattr(tree_growth, "FOLDED_CELLS", 79)
    [(train, held)] = folds_of(task, np.arange(30, 40))
    assert held.tolist() == list(range(30, 40))
    assert train.tolist() == list(range(30))
    grown = grow(task, [(train, held)], lambda: float("inf"))
    assert np.isnan(grown.held_out[:30]).all()
    assert np.isfinite(grown.held_out[30:]).all()


def test_why_there_are_no_trees():
    rare = task_of([0] * 30 + [1], 2)
    assert grow(rare, folds_of(rare, np.arange(3)), lambda: 9.0) == "too few rows of a class"
    usual = task_of([0, 1] * 20, 2)
    assert grow(usual, folds_of(usual, np.arange(3)), lambda: 0.0) == "no time"
    many = task_of(list(range(200)) * 2, 200)
    assert grow(many, folds_of(many, np.arange(400)), lambda: 9.0) == "200 classes take too many trees"


def test_rows_count_by_their_weight(monkeypatch):
    monkeypatch.setattr(tree_growth, "MOST", 30)
    y = np.random.default_rng(1).integers(0, 2, 120)
    even = task_of(y, 2)
    heavy = task_of(y, 2, weight=np.where(y == 1, 1.8, 0.2))
    folds = folds_of(even, np.arange(20))
    one, other = (grow(task, folds, lambda: float("inf")) for task in (even, heavy))
    assert (other.held_out > one.held_out).mean() > 0.9  # more of the second class
