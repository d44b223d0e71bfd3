from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from support.backbones import IDS, MODELS, bert, gpt2, image, kept_bytes, resnet, text, vit
from support.flops import counted
from thermocline.efficiency.costs.layer_costs import layer_costs
from thermocline.efficiency.memory import checkpointing
from thermocline.efficiency.memory.checkpointing import LayerCheckpoints, auto_layers, chosen_layers, free_on
from thermocline.errors import ConfigError, SelectorError
from thermocline.tuning.apply import AppliedPlan
from thermocline.tuning.layers.layer_map import LayerMap
from thermocline.tuning.plan.layer_plan import LayerPlan


def applied(model: nn.Module, frozen=None) -> tuple[LayerMap, AppliedPlan]:
    layer_map = LayerMap.of(model)
    handle = AppliedPlan(model, layer_map, LayerPlan.build(layer_map, frozen_layers=frozen))
    handle.train()
    return layer_map, handle


def stepped(model: nn.Module, call, *, bf16: bool = False):
    """Output, gradients and buffers after one pass in either direction."""
    torch.manual_seed(3)
    model.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
        out = call(model)
    out.float().square().mean().backward()
    grads = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    return {"out": out.detach(), **grads, **{name: b.clone() for name, b in model.named_buffers()}}


def flops(model: nn.Module, call) -> int:
    number = counted(lambda: call(model).sum().backward())
    model.zero_grad()
    return number


@pytest.mark.parametrize("bf16", [False, True], ids=["fp32", "bf16"])
@pytest.mark.parametrize("frozen", [None, 2], ids=["all train", "2 frozen"])
@pytest.mark.parametrize("name", MODELS)
def test_the_same_bits(name, frozen, bf16):
    make, call = MODELS[name]
    model = make()
    layer_map, _ = applied(model, frozen)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    plain = stepped(model, call, bf16=bf16)
    model.load_state_dict(state)
    with LayerCheckpoints(model, layer_map, chosen_layers(layer_map, "all")).installed():
        ours = stepped(model, call, bf16=bf16)
    assert plain.keys() == ours.keys()
    different = [key for key in plain if not torch.equal(plain[key], ours[key])]
    assert not different


@pytest.mark.parametrize("name", MODELS)
def test_keeps_less_and_leaves_nothing_behind(name):
    make, call = MODELS[name]
    model = make()
    layer_map, _ = applied(model)
    before = [dict(module.__dict__) for module in model.modules()]
    plain = kept_bytes(model, call)
    checkpoints = LayerCheckpoints(model, layer_map, chosen_layers(layer_map, "all"))
    with checkpoints.installed():
        assert kept_bytes(model, call) < 0.8 * plain
    after = [dict(module.__dict__) for module in model.modules()]
    for old, new in zip(before, after, strict=True):
        assert old.keys() == new.keys()
        assert all(old[key] is new[key] for key in old)


def test_put_back_after_an_error():
    model = bert()
    layer_map, _ = applied(model)

    def own(*args, **kwargs):
        raise ValueError("theirs")

    model.encoder.layer[1].forward = own
    with pytest.raises(ValueError, match="theirs"), LayerCheckpoints(model, layer_map, layer_map.labels).installed():
        text(model)
    assert model.encoder.layer[1].forward is own
    assert "forward" not in model.encoder.layer[0].__dict__


def test_statistics_are_updated_once():
    model = resnet()
    layer_map, _ = applied(model)
    with LayerCheckpoints(model, layer_map, chosen_layers(layer_map, "all")).installed():
        stepped(model, image)
    counts = {int(b) for name, b in model.named_buffers() if name.endswith("num_batches_tracked")}
    assert counts == {1}


def test_patches_inside_a_layer_live_on():
    model = resnet()
    layer_map, _ = applied(model)
    calls = []
    conv = model.layer2[0].conv1
    plain = conv.forward
    conv.forward = lambda x: calls.append(1) or plain(x)
    with LayerCheckpoints(model, layer_map, chosen_layers(layer_map, "all")).installed():
        stepped(model, image)
    assert len(calls) == 2  # forward, and once more in the backward pass
    assert "forward" in conv.__dict__


def test_a_frozen_prefix_costs_nothing():
    """Libraries compute every frozen block again, and pass a gradient through it that nobody reads."""
    model = bert(12, 32)
    layer_map, _ = applied(model, 9)  # the embeddings and 8 blocks
    plain = flops(model, text)
    with LayerCheckpoints(model, layer_map, chosen_layers(layer_map, "all")).installed():
        ours = flops(model, text)
    model.train()
    model.activation_checkpointing_enable()
    theirs = flops(model, text)
    assert ours / plain == pytest.approx(1.20, abs=0.02)
    assert theirs / plain > 1.9


def test_a_frozen_prefix_is_called_plainly(monkeypatch):
    model = bert(4)
    layer_map, _ = applied(model, 3)  # the embeddings and 2 blocks
    calls = []
    plain = checkpointing.checkpoint
    monkeypatch.setattr(checkpointing, "checkpoint", lambda *args, **kwargs: calls.append(1) or plain(*args, **kwargs))
    with LayerCheckpoints(model, layer_map, chosen_layers(layer_map, "all")).installed():
        stepped(model, text)
    assert len(calls) == 2


def test_the_librarys_own_switch_is_off_meanwhile():
    model = bert()
    layer_map, _ = applied(model)
    plain = flops(model, text)
    with LayerCheckpoints(model, layer_map, chosen_layers(layer_map, "all")).installed():
        ours = flops(model, text)
        model.activation_checkpointing_enable()
    with LayerCheckpoints(model, layer_map, chosen_layers(layer_map, "all")).installed():
        both = flops(model, text)
    assert plain < both == ours
    assert all(layer.gradient_checkpointing for layer in model.encoder.layer)


def test_update_sets_what_trains_now():
    model = bert()
    layer_map, handle = applied(model)
    checkpoints = LayerCheckpoints(model, layer_map, chosen_layers(layer_map, "all"))
    last = layer_map.labels[-1]
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in layer_map[last].parameters)
    handle.model.eval()
    with checkpoints.installed():
        checkpoints.update([last])
        few = flops(model, text)
    plain = flops(model, text)
    block = plain / 6  # three blocks forward, and about two more of the last one backward
    assert plain + 0.5 * block < few < plain + 1.5 * block


def test_no_gradient_no_checkpoint():
    model = bert()
    layer_map, _ = applied(model)
    with LayerCheckpoints(model, layer_map, chosen_layers(layer_map, "all")).installed(), torch.no_grad():
        assert not text(model).requires_grad


def test_a_cache_is_not_filled_twice():
    """A decoder that keeps keys and values would append them again in the recomputation."""
    model = gpt2()
    model.config.use_cache = True
    layer_map, _ = applied(model, 2)
    plain = stepped(model, text)
    with LayerCheckpoints(model, layer_map, chosen_layers(layer_map, "all")).installed():
        ours = stepped(model, text)
    # with a cache, attention reads keys laid out otherwise, whence other rounding
    assert all(torch.allclose(plain[key], ours[key], atol=1e-6) for key in plain)


class Pair(nn.Module):
    """A layer of two modules side by side, called one after the other."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(4, 4)
        self.a = nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Linear(8, 4))
        self.b = nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Linear(8, 4))
        self.head = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        return self.head(self.b(x + self.a(x)))


def test_a_layer_without_one_module():
    model = Pair()
    layer_map = LayerMap.from_patterns(model, ["stem", ("a", 0), ("b", 0)], head=model.head)
    checkpoints = LayerCheckpoints(model, layer_map, layer_map.labels)
    one = next(label for label in layer_map.labels if any(n.startswith("b.") for n in layer_map[label].parameters))
    assert checkpoints.labels == (one,)  # the others are one operator each
    call = lambda m: m(torch.ones(3, 4))  # noqa: E731
    plain = stepped(model, call)
    with checkpoints.installed():
        ours = stepped(model, call)
        assert "forward" in model.a.__dict__
        assert "forward" in model.b.__dict__
    assert all(torch.equal(plain[key], ours[key]) for key in plain)


def test_chosen_layers():
    layer_map = LayerMap.of(vit())
    blocks = tuple(layer.label for layer in layer_map if layer.role == "block")
    assert chosen_layers(layer_map, None) == ()
    assert chosen_layers(layer_map, "all") == blocks
    assert chosen_layers(layer_map, ["blocks.[0-1]"]) == blocks[:2]
    assert chosen_layers(layer_map, 2) == layer_map.labels[:2]
    with pytest.raises(SelectorError, match=r"blocks\.1"):
        chosen_layers(layer_map, "block.1")
    with pytest.raises(ConfigError, match="auto_layers"):
        chosen_layers(layer_map, "auto")
    flat = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    with pytest.raises(SelectorError, match="has none"):
        chosen_layers(LayerMap.single(flat, name="mlp", tower="t", role="fusion"), "all")


@settings(max_examples=40, deadline=None)
@given(share=st.floats(0.0, 2.0), frozen=st.integers(0, 3))
def test_auto_takes_as_few_as_are_needed(share, frozen):
    trains = LAYERS.labels[frozen:]
    full = sum(COSTS.saved(trains).values()) * 16
    chosen = auto_layers(COSTS, trains, 16, share * full)
    spared = {label: COSTS.saved(trains)[label] - COSTS[label].input_bytes for label in chosen}
    assert set(chosen) <= COSTS.reach(trains)
    if share * 0.8 >= 1:
        assert chosen == ()
    elif chosen:  # without any one of them it is not enough
        left = full - 16 * sum(spared.values())
        assert all(left + 16 * one > 0.8 * share * full for one in spared.values())


MODEL = bert()
LAYERS = LayerMap.of(MODEL)
COSTS = layer_costs(MODEL, LAYERS, text, len(IDS))


def test_free_on_a_cpu_is_what_the_machine_has():
    assert free_on(torch.device("cpu")) > 1 << 20


def test_checkpoints_of_nothing():
    model = bert()
    layer_map, _ = applied(model)
    with LayerCheckpoints(model, layer_map, ()).installed() as checkpoints:
        assert checkpoints.labels == ()
        text(model)
