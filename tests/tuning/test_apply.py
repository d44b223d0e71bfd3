import copy

import pytest
import torch
from torch import nn

from thermocline.errors import ConfigError
from thermocline.tuning.apply import (
    AppliedPlan,
    LRSetter,
    freeze,
    frozen_modules,
)
from thermocline.tuning.layers.layer_map import LayerMap
from thermocline.tuning.plan.layer_plan import LayerPlan


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.norm, self.drop, self.b = (
            nn.Linear(4, 4),
            nn.BatchNorm1d(4),
            nn.Dropout(0.5),
            nn.Linear(4, 4),
        )
        self.plain = nn.BatchNorm1d(4, affine=False)

    def forward(self, x):
        return x + self.plain(self.b(self.drop(self.norm(self.a(x)))))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(3, 4)
        self.embed_drop = nn.Dropout(0.5)
        self.blocks = nn.ModuleList(Block() for _ in range(4))
        self.norm = nn.LayerNorm(4)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        x = self.embed_drop(self.embed(x))
        for block in self.blocks:
            x = block(x)
        return self.head(self.drop(self.norm(x)))


@pytest.fixture
def net():
    torch.manual_seed(0)
    return Net()


def planned(net, **options):
    layer_map = LayerMap.of(net, head=net.head)
    return layer_map, LayerPlan.build(layer_map, lr=0.1, **options)


def test_map_of_the_net(net):
    layer_map, _ = planned(net)
    assert [layer.name for layer in layer_map] == ["embed", *(f"blocks.{i}" for i in range(4)), "head"]
    assert "embed_drop" in layer_map["model/embed"].modules
    assert "blocks.1.plain" in layer_map["model/blocks.1"].modules
    assert "drop" in layer_map["model/head"].modules


def test_frozen_stays_off_after_every_train(net):
    layer_map, plan = planned(net, frozen_layers=["stem", "blocks.[0-1]"])
    applied = freeze(net, layer_map, plan)
    for _ in range(2):
        applied.train()
        off = {name for name, module in net.named_modules() if not module.training}
        assert {"embed_drop", "blocks.0.norm", "blocks.0.plain", "blocks.1.drop"} <= off
        assert net.training
        assert net.blocks[2].drop.training
        assert net.drop.training


def test_containers_that_are_frozen_throughout_are_in_eval(net):
    layer_map, plan = planned(net, frozen_layers="backbone")
    assert "blocks" in frozen_modules(net, layer_map, plan.frozen)
    assert "" not in frozen_modules(net, layer_map, plan.frozen)


def test_frozen_is_bit_identical_and_membership_never_changes(net):
    layer_map, plan = planned(net, frozen_layers=["stem", "blocks.[0-1]"])
    applied = freeze(net, layer_map, plan)
    groups = plan.parameter_groups(net)
    optimizer = torch.optim.AdamW(groups)
    setter = LRSetter(optimizer, plan)
    watch, start = plan.verify(net), copy.deepcopy(net.state_dict())
    members = [[id(p) for p in group["params"]] for group in optimizer.param_groups]
    for step in range(5):
        applied.train()
        setter(plan.cursor(step, 5))
        net(torch.randn(8, 3)).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        assert [[id(p) for p in group["params"]] for group in optimizer.param_groups] == members
    watch.check()
    changed = {name for name, value in net.state_dict().items() if not torch.equal(value, start[name])}
    assert not any(name.startswith(("embed", "blocks.0", "blocks.1")) for name in changed)
    assert "blocks.2.plain.running_mean" in changed
    assert "head.weight" in changed


def test_the_watch_sees_buffers(net):
    _, plan = planned(net, frozen_layers="blocks.0")
    watch = plan.verify(net)
    net.blocks[0].plain.running_mean += 1e-6
    assert watch.changed() == ("model/blocks.0",)


def test_gradients_of_the_frozen_are_cleared(net):
    layer_map, plan = planned(net, frozen_layers="stem")
    net(torch.randn(8, 3)).sum().backward()
    AppliedPlan(net, layer_map, plan)
    assert net.embed.weight.grad is None
    assert not net.embed.weight.requires_grad
    assert net.head.weight.grad is not None


def test_batch_norm_eval(net):
    layer_map, plan = planned(net)
    applied = AppliedPlan(net, layer_map, plan, batch_norm_eval=["blocks.1"])
    applied.train()
    assert not net.blocks[1].norm.training
    assert net.blocks[1].drop.training
    assert net.blocks[2].norm.training
    AppliedPlan(net, layer_map, plan, batch_norm_eval=lambda name, module: module.affine).train()
    assert [net.blocks[3].norm.training, net.blocks[3].plain.training] == [False, True]


def test_rates(net):
    _, plan = planned(net, schedule="cosine")
    optimizer = torch.optim.SGD(plan.parameter_groups(net))
    set_rates = LRSetter(optimizer, plan)
    for step in (0, 3, 9):
        cursor = plan.cursor(step, 10)
        set_rates(cursor)
        for group in optimizer.param_groups:
            assert group["lr"] == pytest.approx(plan.lr_at(group["layer"], cursor))
    with pytest.raises(ConfigError, match="names no layer"):
        LRSetter(torch.optim.SGD(net.parameters()), plan)


def test_a_plan_for_another_model(net):
    layer_map, _ = planned(net)
    other = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    _, plan = LayerMap.of(other), LayerPlan.build(LayerMap.of(other), lr=1.0)
    with pytest.raises(ConfigError, match="another model"):
        AppliedPlan(net, layer_map, plan)
