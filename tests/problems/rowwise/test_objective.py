"""One loss a row, as torch computes it."""

import pytest
import torch
from torch.nn import functional as F

from thermocline.problems.rowwise.objective import by_row, row_losses


def test_cross_entropy():
    out, target = torch.randn(5, 3), torch.tensor([0, 1, 2, 1, 0])
    losses = row_losses("cross_entropy", out, target)
    assert losses.shape == (5,)
    torch.testing.assert_close(losses.mean(), F.cross_entropy(out, target))


def test_bce_is_the_mean_over_labels():
    out, target = torch.randn(5, 3), torch.randint(0, 2, (5, 3)).float()
    losses = row_losses("bce", out, target)
    assert losses.shape == (5,)
    torch.testing.assert_close(losses.mean(), F.binary_cross_entropy_with_logits(out, target))


def test_squared_error():
    out, target = torch.randn(5, 1), torch.randn(5, 1)
    torch.testing.assert_close(row_losses("mse", out, target), ((out - target) ** 2)[:, 0])


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_smoothing_of_two_classes_and_of_a_label_agree(smoothing):
    """A softmax over two is a sigmoid, so the two must be smoothed alike."""
    logit, target = torch.randn(6), torch.randint(0, 2, (6,))
    two = row_losses("cross_entropy", torch.stack([-logit / 2, logit / 2], 1), target, smoothing=smoothing)
    one = row_losses("bce", logit[:, None], target[:, None].float(), smoothing=smoothing)
    torch.testing.assert_close(one, two)


@pytest.mark.parametrize("name", ["cross_entropy", "bce", "mse"])
def test_half_precision_outputs_are_computed_in_32_bits(name):
    out = torch.full((2, 2), 3e4, dtype=torch.bfloat16)
    target = torch.tensor([0, 1]) if name == "cross_entropy" else torch.zeros(2, 2)
    losses = row_losses(name, out, target)
    assert losses.dtype == torch.float32
    assert torch.isfinite(losses).all()


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("cross_entropy", torch.tensor([0, 2, 1, 1])),
        ("bce", torch.tensor([[0.0, 1, 0], [1, 1, 0], [0, 0, 0], [1, 0, 1]])),
        ("mse", torch.arange(12.0).reshape(4, 3)),
    ],
)
@pytest.mark.parametrize("weighted", [False, True])
def test_of_members_it_is_the_mean_of_their_losses(name, target, weighted):
    outputs, objective = torch.randn(4, 5, 3), by_row(name, smoothing=0.1)
    batch = {"target": target, "rows": torch.arange(4)} | ({"weight": torch.rand(4)} if weighted else {})
    each = torch.stack([objective.total(outputs[:, k], batch) for k in range(5)])
    torch.testing.assert_close(objective.total(outputs, batch), each.mean())
    assert row_losses(name, outputs, target).shape == (4,)
