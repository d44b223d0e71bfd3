"""With frozen modules passed over, a model gives the bits that it gives without, and is left as it was."""

from __future__ import annotations

import copy
from collections import Counter

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from thermocline.efficiency.prefix_cache.deferred_calls import Session
from thermocline.efficiency.prefix_cache.lazy_tensor import settle


class Shelf:
    def __init__(self):
        self.values, self.taken = {}, Counter()

    def take(self, name):
        self.taken[name] += name in self.values
        return self.values[name].clone() if name in self.values else None

    def keep(self, name, value):
        self.values[name] = value.detach().clone()


def modules_of(model, frozen):
    """Return the modules below frozen children, and the children that train; sets modes and flags."""
    model.train()
    inside, entries = [], []
    for name, child in model.named_children():
        child.requires_grad_(name not in frozen)
        if name in frozen:
            child.eval()
            inside += [name + (f".{below}" if below else "") for below, _ in child.named_modules()]
        elif next(child.parameters(), None) is not None:
            entries.append(name)
    return inside, entries


def outcome(model, inputs, seed=3):
    model.zero_grad(set_to_none=True)
    torch.manual_seed(seed)
    out = settle(model(*inputs))
    out.square().sum().backward()
    return [out.detach(), *(p.grad.clone() for p in model.parameters() if p.grad is not None)]


def compare(model, inputs, frozen):
    """Return the session and the shelf, after an empty and a full shelf gave the plain pass's bits."""
    inside, entries = modules_of(model, frozen)
    plain = outcome(model, inputs)
    session = Session(model, inside, entries)
    session.install()
    shelf = Shelf()
    for _ in range(3):
        with session.running(shelf):
            given = outcome(model, inputs)
        assert len(given) == len(plain)
        assert all(map(torch.equal, given, plain))
    session.remove()
    assert all("forward" not in vars(module) for module in model.modules())
    assert not any(module._forward_pre_hooks for module in model.modules())
    assert all(map(torch.equal, outcome(copy.deepcopy(model), inputs), plain))
    return session, shelf


class Net(nn.Module):
    """Two frozen layers `a` and `b`, one that trains, and what happens between them."""

    def __init__(self, between=lambda self, x: x, early=lambda self, x: x):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.c = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 4)
        self.between, self.early = between, early

    def forward(self, x):
        return self.c(self.between(self, self.b(self.early(self, self.a(x)))))


def in_place(self, x):
    x += 1
    x.mul_(2)
    y = x * 3
    x.relu_()
    return x + y


BETWEEN = {
    "nothing": lambda self, x: x,
    "in place": in_place,
    "relu in place": lambda self, x: F.relu(x, inplace=True),
    "two slices": lambda self, x: torch.cat([x[:, 3:], x[:, :3] * 2], dim=1),
    "chunks": lambda self, x: torch.cat(x.chunk(2, dim=1)[::-1], dim=1),
    "looks at values": lambda self, x: x * 2 if x.sum() > 0 else x * 3,
    "index": lambda self, x: x[torch.arange(len(x)).flip(0)],
    "reversed": lambda self, x: 1 - x,
    "einsum": lambda self, x: torch.einsum("ij,kj->ik", x, x) @ x,
    "dropout": lambda self, x: F.dropout(x, 0.5, training=self.training),
    "idle dropout": lambda self, x: F.dropout(x, 0.5, training=False),
    "noise": lambda self, x: x + torch.randn(x.shape),
    "written by what trains": lambda self, x: x.add_(self.c.weight.sum()),
}


@pytest.mark.parametrize("early", [name for name in BETWEEN if name != "written by what trains"])
@pytest.mark.parametrize("between", BETWEEN)
def test_operators_on_what_is_pending(between, early):
    model = Net(BETWEEN[between], BETWEEN[early])
    compare(model, (torch.randn(5, 6, generator=torch.Generator().manual_seed(1)),), {"a", "b"})


def test_from_a_full_shelf_nothing_frozen_runs():
    model = Net()
    inside, entries = modules_of(model, {"a", "b"})
    calls = []
    session = Session(model, inside, entries)
    for name in ("a", "b"):
        getattr(model, name).register_forward_hook(lambda *_, name=name: calls.append(name))
    session.install()
    shelf, x = Shelf(), torch.randn(5, 6)
    with session.running(shelf):
        model(x)
    model.a.weight.data.zero_()
    with session.running(shelf):
        second = model(x)
    session.remove()
    assert not torch.equal(second, model(x))  # it is the values of before that were used
    assert len(shelf.values) == 1
    assert not session.draws


def test_eval_values_do_not_stand_in_for_dropped_ones():
    """A probe fills the shelf in eval mode; dropout outside of frozen modules must still happen in train mode."""
    x = torch.randn(5, 6)
    for between, early in ((BETWEEN["dropout"], BETWEEN["nothing"]), (BETWEEN["nothing"], BETWEEN["dropout"])):
        model = Net(between, early)
        inside, entries = modules_of(model, {"a", "b"})
        plain = outcome(model, (x,))
        session, shelf = Session(model, inside, entries), Shelf()
        session.install()
        modes = [(module, module.training) for module in model.modules()]
        model.eval()
        with session.running(shelf), torch.no_grad():
            settle(model(x))
        for module, mode in modes:
            module.training = mode
        with session.running(shelf):
            assert all(map(torch.equal, outcome(model, (x,)), plain))
        session.remove()


def test_a_frozen_module_behind_one_that_trains_is_not_passed_over():
    class Behind(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.c, self.b = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 6)

        def forward(self, x):
            return self.b(self.c(self.a(x)))

    model, x = Behind(), torch.randn(5, 6)
    inside, entries = modules_of(model, {"a", "b"})
    session, shelf = Session(model, inside, entries), Shelf()
    session.install()
    for _ in range(2):  # without gradients nothing tells but the order
        model.c.weight.data.mul_(2)
        with torch.no_grad(), session.running(shelf):
            given = settle(model(x))
        with torch.no_grad():
            assert torch.equal(given, model(x))
    session.remove()
    assert len(shelf.values) == 1


def test_autocast():
    model = Net()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        _, shelf = compare(model, (torch.randn(5, 6),), {"a", "b"})
    assert [value.dtype for value in shelf.values.values()] == [torch.bfloat16]


def test_a_long_chain_does_not_overflow():
    class Chain(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.c = nn.Linear(6, 6), nn.Linear(6, 4)

        def forward(self, x):
            for _ in range(1500):
                x = x + self.a(x) * 0.001
            return self.c(x)

    compare(Chain(), (torch.randn(2, 6),), {"a"})


@pytest.mark.parametrize(
    ("name", "size", "frozen"),
    [
        ("test_resnet", 32, {"conv1", "bn1", "act1", "maxpool", "layer1", "layer2"}),
        ("test_efficientnet", 32, {"conv_stem", "bn1"}),
        ("test_vit", 160, {"patch_embed"}),
        ("test_convnext", 32, {"stem"}),
    ],
)
def test_timm(name, size, frozen):
    import timm

    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=3)
    pixels = torch.randn(2, 3, size, size).contiguous(memory_format=torch.channels_last)
    inside, _ = modules_of(model, frozen)
    for module in model.modules():  # statistics of a BatchNorm that trains move from pass to pass
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.0
    assert inside
    _, shelf = compare(model, (pixels,), frozen)
    assert len(shelf.values) == 1
