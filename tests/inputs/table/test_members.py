"""The deep part as an ensemble: members side by side behind the wide features, all weights shared but factors."""

import json

import numpy as np
import pytest
import torch

from thermocline.inputs.table.tower import TableTower

BINS, CARDINALITIES, ROWS = [[0.0, 1.0, 2.0], [], [0.0, 1.0]], [4, 2], 6


def tower(members=3, *, bins=BINS, cardinalities=CARDINALITIES, embedding="piecewise", dropout=0.0):
    torch.manual_seed(0)
    options = {"width": 8, "blocks": 2, "dropout": dropout, "embedding": embedding}
    return TableTower(bins, cardinalities, members=members, **options).eval()


def cells(bins=BINS, cardinalities=CARDINALITIES, rows=ROWS):
    rng = np.random.default_rng(0)
    codes = [rng.integers(0, n, rows) for n in cardinalities]
    return {
        "numbers": torch.from_numpy(rng.random((rows, len(bins))).astype(np.float32)),
        "missing": torch.zeros(rows, len(bins)),
        "codes": torch.from_numpy(np.stack(codes, axis=1) if codes else np.zeros((rows, 0), np.int64)),
    }


def test_the_wide_features_are_those_of_a_single_net():
    one, many = tower(0), tower(3)
    assert many.width == many.fixed + 3 * 8
    with torch.no_grad():
        assert torch.equal(many(cells())[:, : many.fixed], one(cells())[:, : one.fixed])


def test_members_differ_by_factors_of_their_inputs_alone():
    made = tower(3)
    deep = made(cells())[:, made.fixed :].reshape(ROWS, 3, 8)
    assert (deep[:, 0] - deep[:, 1]).abs().max() > 1e-3
    factors = made.stem.factors
    assert set(factors.unique().tolist()) == {-1.0, 1.0}
    with torch.no_grad():
        factors.copy_(factors[:1].expand_as(factors))
        same = made(cells())[:, made.fixed :].reshape(ROWS, 3, 8)
    torch.testing.assert_close(same[:, 0], same[:, 1])
    torch.testing.assert_close(same[:, 0], deep[:, 0])


@pytest.mark.parametrize("embedding", ["piecewise", "periodic", "none"])
@pytest.mark.parametrize(
    ("bins", "cardinalities"), [(BINS, CARDINALITIES), ([], [3, 700]), ([[0.0, 1.0]], []), ([[], []], [2]), ([[]], [])]
)
def test_all_weights_learn_whatever_the_columns(embedding, bins, cardinalities):
    made = tower(2, bins=bins, cardinalities=cardinalities, embedding=embedding)
    out = made(cells(bins, cardinalities))
    assert out.shape == (ROWS, made.width)
    out[:, made.fixed :].square().sum().backward()
    assert all(p.grad is not None for p in made.parameters())


def test_what_is_dropped_of_a_row_is_the_same_for_all_members():
    made = tower(3, dropout=0.5)
    block = made.blocks[0].train()
    with torch.no_grad():
        block.linear.weight.copy_(torch.eye(8))
        block.linear.bias.zero_()
        gone = block(torch.ones(ROWS, 3, 8)) == 0
        assert 0 < gone.float().mean() < 1
        assert (gone == gone[:, :1]).all()
        assert not (block.eval()(torch.ones(ROWS, 3, 8)) == 0).any()


def test_a_row_is_the_same_alone_or_in_a_batch():
    made, batch = tower(3), cells()
    with torch.no_grad():
        alone = made({key: value[1:2] for key, value in batch.items()})
        torch.testing.assert_close(alone[0], made(batch)[1], atol=1e-6, rtol=1e-6)


def test_what_is_described_builds_the_same_tower():
    made = tower(3, embedding="periodic")
    described = json.loads(json.dumps(made.options))
    again = TableTower(made.bins, made.cardinalities, **described).eval()
    again.load_state_dict(made.state_dict())
    with torch.no_grad():
        assert torch.equal(again(cells()), made(cells()))
