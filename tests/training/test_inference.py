"""A pass without training: every row in its place, nothing of the model changed."""

import numpy as np
import pytest
import torch
from torch import nn

from support.toy import make_model, make_rows
from thermocline.contracts.collecting import ArrayCollector
from thermocline.data.batches import Rows
from thermocline.inputs.text.rows import TextRows
from thermocline.training.inference import Pass, collect

CPU = torch.device("cpu")


def run(model, rows, *, what=None, **how):
    """Outputs of a pass, and which rows were reached."""
    collector = ArrayCollector(what or model, len(rows))
    collect(model, rows, collector, Pass(device=CPU, **how))
    return collector.outputs(), collector.reached


class Lengths(nn.Module):
    """Gives a row's first token and length."""

    def forward(self, batch):
        text = batch["text"]
        return torch.stack([text["input_ids"][:, 0], text["attention_mask"].sum(1)], 1).float()


def text_rows(lengths):
    return Rows({"text": TextRows(tuple(np.full(n, i, dtype=np.int32) for i, n in enumerate(lengths)), 0)})


@pytest.mark.parametrize(("batch_size", "workers"), [(1, 0), (2, 0), (3, 0), (100, 0), (2, 1)])
def test_rows_come_back_in_their_order(batch_size, workers):
    lengths = [3, 9, 1, 9, 5, 2] * 4
    out, reached = run(Lengths(), text_rows(lengths), batch_size=batch_size, num_workers=workers)
    np.testing.assert_array_equal(out, np.stack([np.arange(24), lengths], 1))
    assert reached.all()
    assert out.dtype == np.float32


@pytest.mark.parametrize("size", [1, 7, 40])
def test_the_batch_size_changes_nothing(size):
    model = make_model(norm=nn.BatchNorm1d, dropout=0.5)
    rows, _ = make_rows(40)
    whole, _ = run(model, rows, batch_size=40)
    parts, _ = run(model, rows, batch_size=size)
    np.testing.assert_allclose(parts, whole, atol=1e-6)


def test_modes_are_put_back_module_by_module_even_after_a_fault():
    model = make_model(norm=nn.BatchNorm1d).train()
    model.towers["text"].backbone.blocks[1].eval()
    modes = [m.training for m in model.modules()]
    rows, _ = make_rows(6)
    run(model, rows, batch_size=4)
    assert [m.training for m in model.modules()] == modes
    with pytest.raises(ZeroDivisionError):
        run(model, rows, batch_size=4, what=lambda _: 1 / 0)
    assert [m.training for m in model.modules()] == modes


def test_it_can_end_early_and_says_what_was_reached():
    rows, _ = make_rows(10)
    answers = iter([True, True, False])
    out, reached = run(make_model(), rows, batch_size=3, in_time=lambda: next(answers))
    assert reached.sum() == 6
    assert out.shape == (10, 2)
    assert np.isnan(out[~reached]).all()


def test_nothing_reached_is_nothing():
    rows, _ = make_rows(4)
    out, reached = run(make_model(), rows, batch_size=3, in_time=lambda: False)
    assert out.shape == (4, 0)
    assert not reached.any()


def test_features_or_whatever_is_wanted():
    rows, _ = make_rows(4)
    model = make_model()
    out, _ = run(model, rows, batch_size=3, what=model.features)
    assert out.shape == (4, 6)


def test_half_precision_comes_back_as_32_bits():
    rows, _ = make_rows(4)
    out, _ = run(make_model(), rows, batch_size=3, autocast=lambda: torch.autocast("cpu", dtype=torch.bfloat16))
    assert out.dtype == np.float32


def test_no_gradients_and_no_statistics_are_kept():
    model = make_model(norm=nn.BatchNorm1d).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    rows, _ = make_rows(8)
    run(model, rows, batch_size=4)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
