"""scikit-learn's trees as tensors: the same predictions, whatever is missing or unknown, in any batch."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_model, save_model

from thermocline.problems.rowwise import tree_growth
from thermocline.problems.rowwise.tree_conversion import ConversionError, _rounded_down, converted
from thermocline.problems.rowwise.tree_ensemble import EnsembleShape, TreeEnsemble
from thermocline.problems.rowwise.tree_growth import TreeTask, folds_of, grow


def unlimited():
    return float("inf")


@pytest.fixture(scope="module", autouse=True)
def few_trees():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tree_growth, "MOST", 25)
        yield


def cells(rows, seed=0):
    """A category of 40, one of 3, and three numbers, some of them missing."""
    rng = np.random.default_rng(seed)
    x = np.column_stack([rng.integers(0, 40, rows), rng.integers(0, 3, rows), rng.normal(size=(rows, 3))])
    x[rng.random((rows, 5)) < 0.15] = np.nan
    return x.astype(np.float32)


def task_of(classes, rows=240):
    x = cells(rows)
    signal = np.nan_to_num(x[:, 2]) + (np.nan_to_num(x[:, 0]) % 3 == 1)
    y = signal.astype(np.float32) if not classes else np.digitize(signal, np.linspace(0, 1.2, classes - 1))
    return TreeTask(x, 2, y, np.ones(rows), classes, 0)


def grown(classes, rows=240):
    task = task_of(classes, rows)
    return task, grow(task, folds_of(task, np.arange(rows - 40, rows)), unlimited)


@pytest.fixture(scope="module", params=[0, 2, 4])
def pair(request):
    task, found = grown(request.param)
    return task, found, converted(found.models, found.iterations, task.x)


def test_predictions_are_those_of_scikit_learn_on_new_rows_too(pair):
    task, found, trees = pair
    x = cells(500, seed=1)  # other numbers, and pairs of cells that training did not have
    x[:9, 0] = 200  # a category that no row has
    wanted = 0
    for model in found.models:
        *_, last = (raw for _, raw in zip(range(found.iterations), model.stages(x), strict=False))
        wanted = wanted + last / len(found.models)
    np.testing.assert_allclose(trees(torch.from_numpy(x)).numpy(), wanted, atol=1e-6, rtol=1e-6)
    assert trees.shape.outputs == task.outputs


def test_a_row_gives_the_same_bits_in_every_batch_and_after_loading(pair, tmp_path):
    _, _, trees = pair
    x = torch.from_numpy(cells(64, seed=2))
    whole = trees(x)
    assert torch.equal(whole, torch.cat([trees(row) for row in x.split(1)]))
    assert torch.equal(whole, trees(x.flip(0)).flip(0))
    save_model(trees, str(tmp_path / "trees.safetensors"))
    again = TreeEnsemble(EnsembleShape.from_dict(trees.shape.to_dict()))
    load_model(again, str(tmp_path / "trees.safetensors"))
    assert torch.equal(whole, again(x))
    assert not list(again.parameters())
    assert trees(x[:0]).shape == (0, trees.shape.outputs)


def test_a_class_that_one_fold_has_not_seen_is_unlikely_and_no_error():
    task = task_of(4)
    y = np.minimum(task.y, 2)
    y[5] = 3
    task = TreeTask(task.x, 2, y, task.weight, 4, 0)
    found = grow(task, folds_of(task, np.arange(40)), unlimited)
    trees = converted(found.models, found.iterations, task.x)
    assert trees(torch.from_numpy(task.x)).softmax(dim=1)[:, 3].max() < 0.5
    assert np.isfinite(found.held_out).all()
    alone = TreeTask(task.x, 2, np.where(np.arange(240) < 40, 3, y % 2), task.weight, 4, 0)  # two of four classes
    one = grow(alone, [(np.arange(40, 240), np.arange(40))], unlimited)
    assert converted(one.models, one.iterations, task.x).shape.outputs == 4


def test_trees_of_another_layout_are_told():
    task, found = grown(2)
    model = found.models[0].model
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model, "_baseline_prediction", model._baseline_prediction + 1)
        patch.setattr(type(model), "_raw_predict", lambda self, x, n_threads=None: np.zeros((len(x), 1)))
        patch.setattr(type(model), "staged_decision_function", lambda self, x: (np.zeros(len(x)) for _ in range(999)))
        with pytest.raises(ConversionError, match="other predictions than scikit-learn does"):
            converted(found.models, found.iterations, task.x)
    with pytest.MonkeyPatch.context() as patch:
        patch.delattr(model, "_predictors")
        with pytest.raises(ConversionError, match="cannot be read"):
            converted(found.models, found.iterations, task.x)


def test_thresholds_of_64_bits_divide_numbers_of_32_bits_alike():
    rng = np.random.default_rng(0)
    numbers = rng.normal(size=400).astype(np.float32)
    thresholds = np.concatenate([numbers.astype(np.float64), numbers + rng.normal(size=400) * 1e-8, [np.inf, 1e300]])
    narrow = _rounded_down(thresholds)
    assert narrow.dtype == np.float32
    assert ((numbers[:, None] <= thresholds) == (numbers[:, None] <= narrow)).all()
