"""Towers of very different width under one probe: none drowns another, and noise does no harm."""

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from thermocline.problems.rowwise.probe import fit_probe
from thermocline.problems.rowwise.probe_blocks import block_scales
from thermocline.problems.rowwise.probe_solvers import Asked, chosen, most_regular, unlimited
from thermocline.problems.rowwise.target import RowTarget

HELD = 300
CLASSES = {"binary": 2, "multiclass": 3, "multilabel": 3, "regression": 1}


def target_of(kind):
    names = tuple("abc"[: CLASSES[kind]])
    label = names if kind == "multilabel" else "y"
    return RowTarget(kind, label, names, eval_metric="", positive="b" if kind == "binary" else None)


def drawn(kind, rows, width, seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows + HELD, width)).astype(np.float32)
    scores = 2 * x @ rng.normal(size=(width, CLASSES[kind])) / np.sqrt(width)
    if kind == "regression":
        return x, (scores + rng.normal(size=scores.shape)).astype(np.float32)
    if kind == "multilabel":
        return x, (scores + rng.logistic(size=scores.shape) > 0).astype(np.float32)
    return x, (scores + rng.gumbel(size=scores.shape)).argmax(axis=1)


def held_losses(kind, x, y, blocks, seed, rows):
    target = target_of(kind)
    found = fit_probe(x[:rows].copy(), y[:rows], target, blocks=blocks, seed=seed)
    outputs, truth = x[rows:] @ found.weight.T + found.bias, y[rows:]
    if kind == "regression":
        return ((outputs - truth) ** 2)[:, 0]
    chance = np.clip(target.activate(outputs), 1e-12, 1)
    if kind == "multilabel":
        return -np.log(np.where(truth > 0.5, chance, np.clip(1 - chance, 1e-12, 1))).mean(axis=1)
    return -np.log(chance[np.arange(HELD), truth])


@settings(max_examples=8, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    kind=st.sampled_from(sorted(CLASSES)),
    noise=st.sampled_from([1, 30, 800]),
    of=st.sampled_from(["another tower", "another column"]),
    seed=st.integers(0, 10_000),
)
def test_columns_of_noise_cost_less_than_a_standard_error(kind, noise, of, seed):
    rows, width = 300, 12
    x, y = drawn(kind, rows, width, seed)
    more = np.random.default_rng([seed, 1]).normal(size=(len(x), noise)).astype(np.float32)
    wide = np.concatenate([x, more], axis=1)
    blocks = np.repeat([0, 1], [width, noise]) if of == "another tower" or noise > 30 else None
    plain = held_losses(kind, x, y, None, seed, rows)
    noisy = held_losses(kind, wide, y, blocks, seed, rows)
    # of the score on as many rows as such a fit validates on
    assert (noisy - plain).mean() < plain.std() / np.sqrt(rows / 5)


def test_few_features_that_count_are_not_outweighed_by_many():
    x, y = drawn("multiclass", 300, 6, 3)
    rng = np.random.default_rng(9)
    noise = rng.normal(size=(len(x), 2000)).astype(np.float32)
    wide, blocks = np.concatenate([x, noise], axis=1), np.repeat([0, 1, 2, 3, 4], [6, 500, 500, 500, 500])
    plain = held_losses("multiclass", x, y, None, 0, 300).mean()
    assert held_losses("multiclass", wide, y, blocks, 0, 300).mean() < plain + 0.05
    assert held_losses("multiclass", wide, y, None, 0, 300).mean() > plain + 0.15  # what one penalty over all gave


def scales_of(kind, x, y, blocks, left=unlimited, weight=None):
    asked = Asked.of(target_of(kind), y, torch.device("cpu"))
    weight = np.ones(len(x)) if weight is None else weight
    return block_scales(x, blocks, asked, weight, seed=0, seconds_left=left)


def test_one_block_is_left_as_it_is():
    x, y = drawn("binary", 60, 5, 0)
    assert (scales_of("binary", x, y, np.zeros(5, int)) == 1).all()
    one = fit_probe(x, y, target_of("binary"), blocks=np.zeros(5, int))
    assert (one.weight == fit_probe(x, y, target_of("binary")).weight).all()


@pytest.mark.parametrize("kind", sorted(CLASSES))
def test_without_time_blocks_have_equal_norm(kind):
    x, y = drawn(kind, 60, 9, 0)
    blocks = np.repeat([0, 1], [1, 8])
    scales = scales_of(kind, x, y, blocks, left=lambda: 0.0)
    assert np.square(scales[:1]).sum() == pytest.approx(np.square(scales[1:]).sum())
    assert np.square(scales).sum() == pytest.approx(9)


def test_weights_and_constant_features_do_no_harm():
    x, y = drawn("regression", 80, 4, 1)
    weight = np.random.default_rng(0).uniform(0, 3, len(x))
    wide = np.concatenate([x, np.zeros((len(x), 3), np.float32)], axis=1)
    scales = scales_of("regression", wide, y, np.repeat([0, 1], [4, 3]), weight=weight)
    assert np.isfinite(scales).all()
    assert scales[0] > 0


def test_the_one_standard_error_rule_is_paired():
    rng = np.random.default_rng(0)
    hard = rng.normal(size=400) * 5  # how hard rows are is the same for all
    losses = [hard + 1.0, hard + 0.5 + 0.1 * rng.normal(size=400), hard + 0.501, hard + 0.9]
    assert chosen(losses, np.ones(400)) == 1
    assert chosen([hard, hard, hard], np.ones(400)) == 0


def test_tuning_starts_from_the_most_regular_of_the_accurate():
    right = [np.repeat([1.0, 0.0], [share, 100 - share]) for share in (50, 84, 88, 88)]
    assert most_regular(right, np.ones(100)) == 2
    assert most_regular([np.zeros(10), np.zeros(10)], np.ones(10)) == 0


def test_a_probe_to_tune_from_separates_less():
    x, y = drawn("multiclass", 200, 150, 4)
    target = target_of("multiclass")
    alone, start = (fit_probe(x, y, target, to_tune=to_tune) for to_tune in (False, True))
    assert np.abs(start.weight).mean() <= np.abs(alone.weight).mean()
