"""With the calls of frozen modules deferred, a model gives the same bits, and is left as it was."""

from __future__ import annotations

import copy
from collections import Counter

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from thermocline.efficiency.prefix_cache.deferred_calls import DeferredCalls
from thermocline.efficiency.prefix_cache.lazy_tensor import computed


class Store:
    def __init__(self):
        self.values, self.read_counts = {}, Counter()

    def read(self, name):
        self.read_counts[name] += name in self.values
        return self.values[name].clone() if name in self.values else None

    def write(self, name, value):
        self.values[name] = value.detach().clone()


def modules_of(model, frozen):
    """Return the modules below frozen children, and the children that train; sets modes and flags."""
    model.train()
    inside, trained = [], []
    for name, child in model.named_children():
        child.requires_grad_(name not in frozen)
        if name in frozen:
            child.eval()
            inside += [name + (f".{below}" if below else "") for below, _ in child.named_modules()]
        elif next(child.parameters(), None) is not None:
            trained.append(name)
    return inside, trained


def outcome(model, inputs, seed=3):
    model.zero_grad(set_to_none=True)
    torch.manual_seed(seed)
    out = computed(model(*inputs))
    out.square().sum().backward()
    return [out.detach(), *(p.grad.clone() for p in model.parameters() if p.grad is not None)]


def compare(model, inputs, frozen):
    """Return the deferred calls and the store, after an empty and a full store gave the plain pass's bits."""
    inside, trained = modules_of(model, frozen)
    plain = outcome(model, inputs)
    deferred = DeferredCalls(model, inside, trained)
    deferred.install()
    store = Store()
    for _ in range(3):
        with deferred.active(store):
            given = outcome(model, inputs)
        assert len(given) == len(plain)
        assert all(map(torch.equal, given, plain))
    deferred.remove()
    assert all("forward" not in vars(module) for module in model.modules())
    assert not any(module._forward_pre_hooks for module in model.modules())
    assert all(map(torch.equal, outcome(copy.deepcopy(model), inputs), plain))
    return deferred, store


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
    "inactive dropout": lambda self, x: F.dropout(x, 0.5, training=False),
    "noise": lambda self, x: x + torch.randn(x.shape),
    "written by what trains": lambda self, x: x.add_(self.c.weight.sum()),
}


@pytest.mark.parametrize("early", [name for name in BETWEEN if name != "written by what trains"])
@pytest.mark.parametrize("between", BETWEEN)
def test_operators_on_lazy_tensors(between, early):
    model = Net(BETWEEN[between], BETWEEN[early])
    compare(model, (torch.randn(5, 6, generator=torch.Generator().manual_seed(1)),), {"a", "b"})


def test_from_a_full_shelf_nothing_frozen_runs():
    model = Net()
    inside, trained = modules_of(model, {"a", "b"})
    calls = []
    deferred = DeferredCalls(model, inside, trained)
    for name in ("a", "b"):
        getattr(model, name).register_forward_hook(lambda *_, name=name: calls.append(name))
    deferred.install()
    store, x = Store(), torch.randn(5, 6)
    with deferred.active(store):
        model(x)
    model.a.weight.data.zero_()
    with deferred.active(store):
        second = model(x)
    deferred.remove()
    assert not torch.equal(second, model(x))  # it is the values of before that were used
    assert len(store.values) == 1
    assert not deferred.draws_random


def test_eval_values_do_not_stand_in_for_dropped_ones():
    """A probe fills the store in eval mode; dropout outside of frozen modules must still happen in train mode."""
    x = torch.randn(5, 6)
    for between, early in ((BETWEEN["dropout"], BETWEEN["nothing"]), (BETWEEN["nothing"], BETWEEN["dropout"])):
        model = Net(between, early)
        inside, trained = modules_of(model, {"a", "b"})
        plain = outcome(model, (x,))
        deferred, store = DeferredCalls(model, inside, trained), Store()
        deferred.install()
        modes = [(module, module.training) for module in model.modules()]
        model.eval()
        with deferred.active(store), torch.no_grad():
            computed(model(x))
        for module, mode in modes:
            module.training = mode
        with deferred.active(store):
            assert all(map(torch.equal, outcome(model, (x,)), plain))
        deferred.remove()


def test_a_frozen_module_behind_one_that_trains_is_not_deferred():
    class Behind(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.c, self.b = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 6)

        def forward(self, x):
            return self.b(self.c(self.a(x)))

    model, x = Behind(), torch.randn(5, 6)
    inside, trained = modules_of(model, {"a", "b"})
    deferred, store = DeferredCalls(model, inside, trained), Store()
    deferred.install()
    for _ in range(2):  # without gradients nothing tells but the order
        model.c.weight.data.mul_(2)
        with torch.no_grad(), deferred.active(store):
            given = computed(model(x))
        with torch.no_grad():
            assert torch.equal(given, model(x))
    deferred.remove()
    assert len(store.values) == 1


def test_autocast():
    model = Net()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        _, store = compare(model, (torch.randn(5, 6),), {"a", "b"})
    assert [value.dtype for value in store.values.values()] == [torch.bfloat16]


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
    _, store = compare(model, (pixels,), frozen)
    assert len(store.values) == 1
