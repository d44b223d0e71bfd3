"""The split into training and validation: a function of the seed that leaves every class in training."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thermocline.problems.rowwise.split import split_rows
from thermocline.problems.rowwise.target import RowTarget


def task(labels, problem_type=None):
    frame = pd.DataFrame({"y": labels})
    made = RowTarget.of(frame, "y", problem_type)
    return made, made.encode(frame)


def test_classes_keep_their_proportions():
    labels = ["a"] * 800 + ["b"] * 150 + ["c"] * 50
    made, target = task(labels)
    train, held, why = split_rows(made, target, None, seed=0)
    assert sorted([*train, *held]) == list(range(1000))
    shares = np.bincount(target[held]) / len(held)
    np.testing.assert_allclose(shares, [0.8, 0.15, 0.05], atol=0.01)
    assert "1000 rows" in why


def test_the_split_is_a_function_of_the_seed():
    made, target = task(["a", "b"] * 200)
    one, two, other = (split_rows(made, target, 0.2, seed=s)[1].tolist() for s in (3, 3, 4))
    assert one == two != other
    assert len(one) == 80


def test_a_class_with_one_row_stays_in_training():
    made, target = task(["a"] * 40 + ["b"] * 40 + ["rare"])
    for seed in range(10):
        train, held, _ = split_rows(made, target, 0.3, seed=seed)
        assert 80 in train
        assert 80 not in held


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(1, 30), min_size=2, max_size=12),
    st.one_of(st.none(), st.floats(0.01, 0.95)),
    st.integers(0, 1000),
)
def test_every_class_is_in_training_whatever_the_sizes(sizes, fraction, seed):
    labels = [f"c{k}" for k, size in enumerate(sizes) for _ in range(size)]
    if len(labels) < 3:
        return
    made, target = task(labels, "multiclass" if len(sizes) > 2 else None)
    train, held, _ = split_rows(made, target, fraction, seed=seed)
    assert len(train)
    assert len(held)
    assert sorted([*train, *held]) == list(range(len(labels)))
    if max(sizes) > 1 and len(labels) > len(sizes) + 1:  # else one of the few rows must be held out
        assert set(target[train]) == set(target)


@pytest.mark.parametrize("n", [2, 3, 5, 100, 100_000])
def test_numbers_are_split_at_random(n):
    made, target = task(np.linspace(0, 1, n), "regression")
    train, held, _ = split_rows(made, target, None, seed=0)
    assert len(train) + len(held) == n
    assert len(held) >= 1
    assert len(train) >= 1
    assert len(held) <= max(1, 0.2 * n + 1)
    assert not set(train) & set(held)
