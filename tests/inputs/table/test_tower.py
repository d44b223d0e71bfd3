"""The table tower: wide features are exact, the deep part starts at zero and learns."""

import numpy as np
import pytest
import torch

from thermocline.inputs.table.rows import TableRows
from thermocline.inputs.table.tower import TableTower, number_bins


def rows(numbers, codes=None, missing=None):
    numbers = np.asarray(numbers, dtype=np.float32)
    codes = np.zeros((len(numbers), 0), np.int64) if codes is None else np.asarray(codes, np.int64)
    missing = np.zeros_like(numbers) if missing is None else np.asarray(missing, np.float32)
    return TableRows(numbers, missing, codes)


def batch(part):
    return {
        "numbers": torch.from_numpy(part.numbers),
        "missing": torch.from_numpy(part.missing),
        "codes": torch.from_numpy(part.codes),
    }


def tower(bins, cardinalities=(), *, embedding="piecewise", width=8):
    torch.manual_seed(0)
    return TableTower(bins, cardinalities, width=width, blocks=2, dropout=0.0, embedding=embedding).eval()


# bins


def test_bins_are_quantiles():
    edges = number_bins(rows(np.arange(101.0)[:, None]), 4)
    assert edges == [[0, 25, 50, 75, 100]]


def test_bins_of_few_values_are_those_values():
    edges = number_bins(rows(np.array([0.0, 1.0, 1.0, 2.0] * 10)[:, None]), 48)
    assert edges[0][0] == 0
    assert edges[0][-1] == 2
    assert np.all(np.diff(edges[0]) > 0)


@pytest.mark.parametrize("column", [[3.0] * 10, [0.0] * 10])
def test_a_constant_column_has_no_bins(column):
    assert number_bins(rows(np.array(column)[:, None]), 8) == [[]]


def test_missing_values_make_no_bins():
    part = rows([[0.0], [0.0], [0.0], [5.0], [7.0]], missing=[[1], [1], [1], [0], [0]])
    assert number_bins(part, 8)[0][0] == 5
    assert number_bins(rows([[0.0]] * 3, missing=[[1]] * 3), 8) == [[]]


# the wide part


def test_wide_features_are_exact():
    made = tower([[0.0, 1.0, 3.0]], [3, 2])
    part = rows([[0.5], [2.0], [0.0]], codes=[[0, 1], [2, 0], [1, 1]], missing=[[0], [0], [1]])
    with torch.no_grad():
        wide = made(batch(part))[:, : made.fixed]
    assert made.fixed == 2 + 1 + 3 + 2
    expected = [
        [0.5, 0.0, 0, 1, 0, 0, 0, 1],
        [1.0, 0.5, 0, 0, 0, 1, 1, 0],
        [0.0, 0.0, 1, 0, 1, 0, 0, 1],
    ]
    torch.testing.assert_close(wide, torch.tensor(expected))


def test_numbers_beyond_the_training_range_stay_bounded_or_linear():
    made = tower([[0.0, 1.0, 3.0]])
    with torch.no_grad():
        wide = made(batch(rows([[-8.0], [8.0]])))[:, :2]
    assert torch.isfinite(wide).all()
    assert wide[1, 1] >= 1
    assert wide[0, 0] <= 0


def test_columns_without_bins_still_have_a_missing_flag():
    made = tower([[], [0.0, 1.0]])
    assert made.fixed == 1 + 2
    with torch.no_grad():
        out = made(batch(rows([[0.3, 0.5]], missing=[[1, 0]])))
    assert out[0, : made.fixed].tolist() == [0.5, 1, 0]


# the deep part


@pytest.mark.parametrize("embedding", ["piecewise", "periodic", "none"])
@pytest.mark.parametrize(
    ("bins", "cardinalities"),
    [([[0.0, 1.0, 2.0], [0.0, 1.0]], [3]), ([], [3, 700]), ([[0.0, 1.0]], []), ([[], []], [2]), ([[]], [])],
)
def test_the_deep_part_starts_at_zero_and_learns(embedding, bins, cardinalities):
    made = tower(bins, cardinalities, embedding=embedding).train()
    rng = np.random.default_rng(0)
    codes = np.stack([rng.integers(0, n, 12) for n in cardinalities], axis=1) if cardinalities else None
    part = rows(rng.random((12, len(bins))), codes=codes)
    out = made(batch(part))
    assert out.shape == (12, made.width)
    assert not out[:, made.fixed :].any()
    optimizer = torch.optim.SGD(made.parameters(), lr=0.5)
    before = {name: p.detach().clone() for name, p in made.named_parameters()}
    for _ in range(3):
        optimizer.zero_grad()
        (made(batch(part))[:, made.fixed :] - torch.randn(12, 8)).square().sum().backward()
        optimizer.step()
    moved = [name for name, p in made.named_parameters() if (p != before[name]).any()]
    assert any(name.startswith("stem") for name in moved)
    assert any(name.startswith("blocks.0") for name in moved)
    assert all(p.grad is not None for p in made.parameters())


def test_a_row_is_the_same_alone_or_in_a_batch():
    made = tower([[0.0, 1.0, 2.0]], [4])
    torch.nn.init.normal_(made.out[1].weight)
    part = rows([[0.1], [0.9], [1.7]], codes=[[1], [2], [3]])
    with torch.no_grad():
        together = made(batch(part))
        alone = made({key: value[1:2] for key, value in batch(part).items()})
    torch.testing.assert_close(alone[0], together[1], atol=1e-6, rtol=1e-6)


def test_what_is_described_builds_the_same_tower():
    made = tower([[0.0, 1.0, 2.0], []], [4], embedding="periodic")
    again = TableTower(made.bins, made.cardinalities, **made.options)
    again.load_state_dict(made.state_dict())
    part = rows([[0.1, 2.0], [0.9, 1.0]], codes=[[1], [2]])
    with torch.no_grad():
        torch.testing.assert_close(again.eval()(batch(part)), made(batch(part)))
