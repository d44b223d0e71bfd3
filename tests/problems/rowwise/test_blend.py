"""The mean of the network and the trees, and what each counts in it."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from thermocline.problems.rowwise.blend import Prior, best_share, both_classes, mixed
from thermocline.problems.rowwise.table_trees import TableTrees, tree_cells
from thermocline.problems.rowwise.tree_ensemble import EnsembleShape


def chosen(*given, **options):
    return best_share(*given, **options)[0]


@settings(max_examples=30, deadline=None)
@given(st.floats(0, 1), st.integers(0, 99))
def test_the_softmax_of_a_blend_is_the_mean_of_probabilities(share, seed):
    one, other = torch.randn(2, 5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).mul(4)
    blend = mixed(one, other, torch.tensor(share, dtype=torch.float64))
    torch.testing.assert_close(blend.softmax(1), (1 - share) * one.softmax(1) + share * other.softmax(1))
    assert torch.isfinite(blend).all()
    numbers = mixed(one[:, :1], other[:, :1], torch.tensor(share, dtype=torch.float64))
    torch.testing.assert_close(numbers, (1 - share) * one[:, :1] + share * other[:, :1])


def test_the_second_of_two_classes_has_the_one_output_of_trees():
    raw = torch.tensor([[-2.0], [0.0], [3.0]])
    torch.testing.assert_close(both_classes(raw, 2).softmax(1)[:, 1:], raw.sigmoid())
    assert both_classes(raw, 1) is raw


@pytest.mark.parametrize("numbers", [False, True])
def test_many_rows_decide_and_few_take_the_mean(numbers):
    rng = np.random.default_rng(0)
    y = rng.normal(size=(2000, 1)) if numbers else rng.integers(0, 2, 2000)
    sign = y if numbers else np.where(y == 1, 1.0, -1.0)[:, None] * np.array([-1.0, 1.0])
    good, noise = sign + 0.1 * rng.normal(size=sign.shape), rng.normal(size=sign.shape)
    assert chosen(good, noise, y, np.ones(len(y))) < 0.1
    assert chosen(noise, good, y, np.ones(len(y))) > 0.9
    assert chosen(good, good, y, np.ones(len(y))) == pytest.approx(0.5)
    assert chosen(good, good, y, np.ones(len(y)), Prior(middle=0.3)) == pytest.approx(0.3)
    few = chosen(good[:4], noise[:4], y[:4], np.ones(4))
    assert chosen(good, noise, y, np.ones(len(y))) < few < 0.6


def test_rows_count_by_their_weight():
    y = np.array([1] * 50 + [0] * 50)
    yes, no = np.tile([-2.0, 2.0], (100, 1)), np.tile([2.0, -2.0], (100, 1))
    assert chosen(yes, no, y, np.where(y == 1, 9.0, 1.0)) < chosen(yes, no, y, np.ones(len(y))) == pytest.approx(0.5)


def test_cells_have_the_sets_of_categories_first_and_nan_where_nothing_is():
    table = {
        "numbers": torch.tensor([[0.5], [0.0]]),
        "missing": torch.tensor([[0.0], [1.0]]),
        "codes": torch.tensor([[300, 2], [0, 0]]),
    }
    nan = float("nan")
    found = tree_cells(table, [400, 3])
    torch.testing.assert_close(found, torch.tensor([[1.0, 0.5, 299.0], [nan, nan, nan]]), equal_nan=True)


def test_shapes_survive_the_way_through_json():
    blend = TableTrees(EnsembleShape(trees=3, splits=2, sets=1, outputs=2), [4, 5])
    with torch.device("meta"):
        again = TableTrees.rebuilt(blend.describe())
    assert {k: v.shape for k, v in again.state_dict().items()} == {k: v.shape for k, v in blend.state_dict().items()}
