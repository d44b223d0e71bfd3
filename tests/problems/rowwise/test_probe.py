"""The probe is scikit-learn's own model, written as weights of raw features."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import StandardScaler

from thermocline.contracts.tower import Tower
from thermocline.problems.rowwise import probe
from thermocline.problems.rowwise.model import FusionModel
from thermocline.problems.rowwise.probe import fit_probe, fold
from thermocline.problems.rowwise.target import RowTarget


class Passing(Tower):
    def __init__(self, width):
        super().__init__()
        self.width, self.pretrained = width, True

    def forward(self, inputs, *, grain="row"):
        return inputs["x"]


def data(kind, n=240, width=10, seed=0):
    rng = np.random.default_rng(seed)
    x = (rng.normal(size=(n, width)) * rng.uniform(0.1, 5, width) + rng.normal(0, 3, width)).astype(np.float32)
    z = (x - x.mean(0)) / x.std(0)
    if kind == "regression":
        frame = pd.DataFrame({"y": z[:, 0] * 3 - z[:, 1] + rng.normal(0, 0.1, n)})
        task = RowTarget.of(frame, "y", kind)
    elif kind == "multilabel":
        frame = pd.DataFrame({"a": z[:, 0] > 0, "b": z[:, 1] + z[:, 2] > 0}).astype(int)
        task = RowTarget.of(frame, ["a", "b"], kind)
    else:
        classes = 2 if kind == "binary" else 4
        scores = z[:, :classes] + rng.normal(0, 0.5, (n, classes))
        frame = pd.DataFrame({"y": np.array(list("abcd"))[scores.argmax(1)]})
        task = RowTarget.of(frame, "y", kind)
    return x, task.encode(frame), task


def folded_outputs(found, x, outputs):
    model = FusionModel({"text": Passing(x.shape[1])}, outputs, width=4, dropout=0.0).eval()
    fold(found, model)
    with torch.no_grad():
        return model({"text": {"x": torch.from_numpy(x)}}).double().numpy()


def strength_of(found):
    return float(found.note.split("C=")[1])


@pytest.mark.parametrize("kind", ["binary", "multiclass"])
@pytest.mark.parametrize("weighted", [False, True])
def test_classes_are_scikit_learns_predictions(kind, weighted):
    x, y, task = data(kind)
    weight = np.random.default_rng(1).uniform(0.1, 3, len(x)) if weighted else None
    weight = None if weight is None else weight / weight.mean()
    found = fit_probe(x, y, task, weight=weight)
    scaled = StandardScaler().fit_transform(x.astype(np.float64)).astype(np.float32)
    # of two classes we have a row of weights each, so that a difference of both is penalised half as much
    strength = strength_of(found) * (2 if kind == "binary" else 1)
    theirs = LogisticRegression(C=strength, max_iter=1000, tol=1e-6).fit(scaled, y, sample_weight=weight)
    ours = task.activate(folded_outputs(found, x, task.width))
    np.testing.assert_allclose(ours, theirs.predict_proba(scaled), atol=5e-3)


def test_regression_is_scikit_learns_prediction():
    x, y, task = data("regression")
    found = fit_probe(x, y, task)
    scaled = StandardScaler().fit_transform(x.astype(np.float64))
    theirs = Ridge(alpha=float(found.note.split("alpha=")[1])).fit(scaled, y[:, 0].astype(np.float64))
    np.testing.assert_allclose(folded_outputs(found, x, 1)[:, 0], theirs.predict(scaled), atol=5e-3)


def test_multilabel_is_a_regression_per_label():
    x, y, task = data("multilabel")
    found = fit_probe(x, y, task)
    chances = task.activate(folded_outputs(found, x, 2))
    assert ((chances > 0.5) == y.astype(bool)).mean() > 0.9
    scaled = StandardScaler().fit_transform(x.astype(np.float64))
    for j in range(2):
        theirs = LogisticRegression(C=strength_of(found), max_iter=1000).fit(scaled, y[:, j])
        np.testing.assert_allclose(chances[:, j], theirs.predict_proba(scaled)[:, 1], atol=5e-3)


def test_a_label_that_never_or_always_occurs_is_a_constant():
    x, _, _ = data("binary")
    y = np.zeros((len(x), 3), dtype=np.float32)
    y[:, 1] = 1
    y[: len(x) // 2, 2] = 1
    task = RowTarget("multilabel", ("a", "b", "c"), ("a", "b", "c"), eval_metric="f1_macro")
    outputs = folded_outputs(fit_probe(x, y, task), x, 3)
    assert (outputs[:, 0] < -5).all()
    assert (outputs[:, 1] > 5).all()


@pytest.mark.parametrize("kind", ["binary", "multiclass", "regression", "multilabel"])
def test_dead_features_do_not_blow_the_head_up(kind):
    """MiniLM has three output dimensions whose deviation is 1e-33."""
    x, y, task = data(kind)
    dead = np.random.default_rng(2).normal(0, 1e-33, (len(x), 3)).astype(np.float32)
    constant = np.full((len(x), 2), 7.5, dtype=np.float32)
    wide = np.concatenate([x, dead, constant], axis=1)
    found = fit_probe(wide, y, task)
    assert np.isfinite(found.weight).all()
    assert np.isfinite(found.bias).all()
    assert np.abs(found.weight[:, 10:]).max() <= 1e3 * np.abs(found.weight[:, :10]).max()
    plain = folded_outputs(fit_probe(x, y, task), x, task.width)
    np.testing.assert_allclose(folded_outputs(found, wide, task.width), plain, atol=0.05)
    shifted = wide.copy()
    shifted[:, 10:13] += 1e-6  # what an update of the layers below may do
    moved = folded_outputs(found, shifted, task.width) - folded_outputs(found, wide, task.width)
    assert np.abs(moved).max() < 0.1


def test_all_features_dead_is_still_a_probe():
    _, y, task = data("binary")
    found = fit_probe(np.zeros((len(y), 4), dtype=np.float32), y, task)
    assert np.isfinite(found.weight).all()
    assert np.isfinite(found.bias).all()


def test_one_hot_columns_share_a_spread():
    """Each on its own, a category of one row would weigh most of all."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 300)
    rare = np.zeros((300, 1), dtype=np.float32)
    rare[np.flatnonzero(y == 1)[0]] = 1
    common = (rng.random((300, 1)) < 0.5).astype(np.float32)
    frame = pd.DataFrame({"y": y})
    task = RowTarget.of(frame, "y", "binary")
    x = np.concatenate([rare, common], axis=1)
    apart = fit_probe(x, task.encode(frame), task)
    shared = fit_probe(x, task.encode(frame), task, fixed=np.array([True, True]))
    assert abs(shared.weight[1, 0]) < abs(apart.weight[1, 0])


def test_a_class_that_training_rows_lack_is_never_predicted():
    x, y, task = data("multiclass")
    keep = y != 2
    found = fit_probe(x[keep], y[keep], task)
    outputs = folded_outputs(found, x, 4)
    assert (outputs.argmax(1) != 2).all()


@pytest.mark.parametrize("n", [2, 3, 5])
@pytest.mark.parametrize("kind", ["binary", "multiclass", "regression", "multilabel"])
def test_a_handful_of_rows(kind, n):
    x, y, task = data(kind)
    if kind in ("binary", "multiclass"):
        rows = np.concatenate([np.flatnonzero(y == 0)[: n - n // 2], np.flatnonzero(y == 1)[: n // 2]])
    else:
        rows = np.arange(n)
    found = fit_probe(x[rows], y[rows], task)
    assert np.isfinite(folded_outputs(found, x, task.width)).all()


def test_the_probe_is_deterministic_and_leaves_random_numbers_alone():
    x, y, task = data("multiclass")
    np.random.seed(0)
    torch.manual_seed(0)
    before = np.random.get_state()[1].copy(), torch.get_rng_state()
    one, two = fit_probe(x, y, task, seed=1), fit_probe(x, y, task, seed=1)
    np.testing.assert_array_equal(one.weight, two.weight)
    assert (before[0] == np.random.get_state()[1]).all()
    assert torch.equal(before[1], torch.get_rng_state())


@pytest.mark.parametrize("scale", [1e-6, 1e3])
def test_only_the_proportions_of_weights_count(scale):
    """As in the loss; scikit-learn weighs its penalty against their sum."""
    x, y, task = data("binary")
    weight = np.random.default_rng(1).uniform(0.5, 2, len(x)).astype(np.float32)
    weight /= weight.mean()
    one, other = fit_probe(x, y, task, weight=weight), fit_probe(x, y, task, weight=weight * scale)
    np.testing.assert_allclose(other.weight, one.weight, atol=1e-3)


@pytest.mark.parametrize("width", [1, 2, 32, 33, 65, 97])
@pytest.mark.parametrize("overwrite", [False, True])
def test_blocks_and_no_copy_change_no_bit(width, overwrite):
    x = data("binary", n=1100, width=10)[0]
    x = np.tile(x, (1, 10))[:, :width] * np.linspace(1, 2, width, dtype=np.float32)
    spread = probe._spread(x, None)
    assert (spread == x.std(axis=0, dtype=np.float64)).all()
    mean = x.mean(axis=0, dtype=np.float64)
    scaled = ((x - mean) / spread).astype(np.float32)
    assert (probe._standardised(x.copy(), mean, spread, overwrite=overwrite) == scaled).all()
