"""Towers under one head: a folded probe is exact at the first step, with one tower or several."""

import pytest
import torch
from torch import nn

from thermocline.contracts.tower import Tower
from thermocline.inputs.table.tower import TableTower
from thermocline.problems.rowwise.model import FusionModel


class Plain(Tower):
    """A pretrained tower that passes its input on."""

    def __init__(self, width, *, pretrained=True):
        super().__init__()
        self.width, self.pretrained = width, pretrained

    def forward(self, inputs, *, grain="row"):
        return inputs["x"]


def table(width=8, members=0):
    return TableTower(
        [[0.0, 1.0, 2.0]], [3], width=width, blocks=1, dropout=0.0, embedding="piecewise", members=members
    )


def table_batch(n):
    return {"numbers": torch.rand(n, 1), "missing": torch.zeros(n, 1), "codes": torch.randint(0, 3, (n, 1))}


def test_one_tower_goes_to_its_head_directly():
    model = FusionModel({"text": Plain(4)}, 3, width=16, dropout=0.0)
    assert model.fusion is None
    x = torch.randn(5, 4)
    torch.testing.assert_close(model({"text": {"x": x}}), model.head(x))


def test_towers_lie_side_by_side_in_the_order_given():
    model = FusionModel({"text": Plain(3), "image": Plain(2)}, 1, width=4, dropout=0.0)
    batch = {"text": {"x": torch.zeros(2, 3)}, "image": {"x": torch.ones(2, 2)}}
    assert model.features(batch).tolist() == [[0, 0, 0, 1, 1]] * 2
    assert list(model.widths) == ["text", "image"]


def test_the_fusion_part_says_nothing_at_first_but_can_learn():
    model = FusionModel({"image": Plain(2), "text": Plain(3)}, 2, width=4, dropout=0.0)
    batch = {"text": {"x": torch.randn(6, 3)}, "image": {"x": torch.randn(6, 2)}}
    out = model(batch)
    torch.testing.assert_close(out, model.head(model.features(batch)))
    out.square().sum().backward()
    assert model.fusion[-1].weight.grad.abs().sum() > 0


@pytest.mark.parametrize(
    "towers",
    [
        {"text": Plain(4)},
        {"text": Plain(4), "image": Plain(3)},
        {"text": Plain(4), "image": Plain(3, pretrained=False)},
        {"text": Plain(4), "table": table()},
        {"table": table()},
        {"table": table(members=3)},
        {"text": Plain(4), "image": Plain(2), "table": table()},
    ],
    ids=lambda towers: "+".join(towers),
)
def test_the_outputs_at_step_0_are_those_of_the_probe(towers):
    torch.manual_seed(0)
    model = FusionModel(towers, 3, width=8, dropout=0.0).eval()
    batch = {name: {"x": torch.randn(7, tower.width)} for name, tower in towers.items() if name != "table"}
    if "table" in towers:
        batch["table"] = table_batch(7)
    columns = model.probe_columns()
    weight, bias = torch.randn(3, int(columns.sum())), torch.randn(3)
    model.set_head(weight.double(), bias.double(), columns)
    with torch.no_grad():
        expected = model.features(batch)[:, columns] @ weight.T + bias
        torch.testing.assert_close(model(batch), expected, atol=1e-5, rtol=1e-5)


def test_a_probe_uses_pretrained_features_and_the_wide_part_only():
    model = FusionModel(
        {"text": Plain(2, pretrained=False), "image": Plain(3), "table": table(8)}, 1, width=4, dropout=0
    )
    fixed = model.towers["table"].fixed
    assert model.probe_columns().tolist() == [False] * 2 + [True] * 3 + [True] * fixed + [False] * 8


def test_a_tables_deep_part_keeps_weights_to_learn_through():
    """With zero features and zero weights nothing would ever move."""
    torch.manual_seed(0)
    model = FusionModel({"table": table(8)}, 1, width=4, dropout=0)
    columns = model.probe_columns()
    model.set_head(torch.zeros(1, int(columns.sum())), torch.zeros(1), columns)
    model({"table": table_batch(9)}).sum().backward()
    assert model.towers["table"].out[1].weight.grad.abs().sum() > 0


def test_a_tower_without_pretrained_weights_can_learn_beside_a_probe():
    torch.manual_seed(0)
    net = nn.Linear(3, 2)

    class Fresh(Plain):
        def __init__(self):
            super().__init__(2, pretrained=False)
            self.net = net

        def forward(self, batch):
            return self.net(batch["x"])

    model = FusionModel({"text": Plain(4), "image": Fresh()}, 2, width=8, dropout=0)
    columns = model.probe_columns()
    model.set_head(torch.zeros(2, 4), torch.zeros(2), columns)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    batch = {"text": {"x": torch.randn(5, 4)}, "image": {"x": torch.randn(5, 3)}}
    before = net.weight.detach().clone()
    for _ in range(2):
        optimizer.zero_grad()
        (model(batch) - 1).square().sum().backward()
        optimizer.step()
    assert (net.weight != before).any()


# an ensemble over a table


def ensemble(*, probed):
    torch.manual_seed(0)
    model = FusionModel({"table": table(members=3)}, 2, width=8, dropout=0.0)
    if probed:
        columns = model.probe_columns()
        model.set_head(torch.randn(2, int(columns.sum())), torch.randn(2), columns)
    model.apart = True
    return model, {"table": table_batch(9)}


@pytest.mark.parametrize("probed", [False, True])
def test_the_outputs_are_the_mean_of_the_members(probed):
    model, batch = ensemble(probed=probed)
    with torch.no_grad():
        model.head.weight[:, model.fixed :].normal_()
        apart, together = model.train()(batch), model.eval()(batch)
    assert apart.shape == (9, 3, 2)
    assert (apart[:, 0] - apart[:, 1]).abs().min() > 1e-4
    torch.testing.assert_close(apart.mean(dim=1), together)


@pytest.mark.parametrize("probed", [False, True])
def test_what_a_probe_says_of_the_cells_stays_and_what_starts_at_random_learns(probed):
    model, batch = ensemble(probed=probed)
    model(batch).square().sum().backward()
    grad = model.head.weight.grad
    assert grad[:, model.fixed :].abs().sum() > 0
    assert bool(grad[:, : model.fixed].any()) != probed
    again = FusionModel({"table": table(members=3)}, 2, width=8, dropout=0.0)
    again.load_state_dict(model.state_dict())
    assert bool(again.probed) == probed


def test_a_loss_that_knows_nothing_of_members_gets_the_mean_in_training_too():
    model, batch = ensemble(probed=False)
    model.apart = False
    assert model.train()(batch).shape == (9, 2)


def test_what_is_embedded_is_the_mean_of_the_members():
    model, batch = ensemble(probed=False)
    model.eval()
    with torch.no_grad():
        found, tower = model.row_features(batch), model.towers["table"]
        binned, plain = batch["table"]["numbers"], torch.cat([batch["table"]["numbers"], batch["table"]["missing"]], 1)
        members = torch.relu(tower.blocks[0](tower.stem(binned, plain, batch["table"]["codes"])))
    assert found.shape == (9, model.fixed + 8)
    torch.testing.assert_close(found[:, model.fixed :], members.mean(dim=1))
