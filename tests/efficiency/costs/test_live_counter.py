from __future__ import annotations

from contextlib import nullcontext
from functools import partial

import pytest
import torch
from torch import nn

from support.live_steps import MODELS, OBJECTIVE, counted_peak, ready, source_of
from thermocline.contracts.learning import Objective
from thermocline.efficiency.costs.estimate_plan import StepSetup
from thermocline.efficiency.costs.live_counter import LiveCounter, LiveSource, bytes_of
from thermocline.efficiency.costs.storage_count import StorageCount
from thermocline.efficiency.memory.checkpointing import LayerCheckpoints, chosen_layers
from thermocline.efficiency.memory.conv_bn import ConvBN
from thermocline.efficiency.memory.conv_bn_pairs import pairs_of
from thermocline.tuning.layers.layer_map import LayerMap

BF16 = partial(torch.autocast, "cpu", torch.bfloat16)


def test_storages_are_counted_from_birth_to_death():
    count = StorageCount()
    with count:
        first = torch.ones(100)
        second = first + 1
        del first
        view = second[:10]
        last = view * 2
    curve = count.storages().curve()
    assert list(curve) == [0, 400, 800, 400, 440]
    del second, view, last


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("frozen", [None, 2, "backbone"])
def test_as_a_real_step(name, frozen, precision):
    source = source_of(name)
    trains, optimizer = ready(source, frozen)
    live = LiveCounter(source).live(trains, StepSetup(4, precision=precision))
    real = counted_peak(source, optimizer, 4, autocast=BF16 if precision == "bf16" else nullcontext)
    assert live.training == pytest.approx(real, rel=0.005)
    state = [2 * p.numel() * p.element_size() + 4 for p in source.model.parameters() if p.requires_grad]
    assert live.optimizer == sum(state)
    assert live.parameters + live.buffers == bytes_of(source.model)


@pytest.mark.parametrize("name", ["bert", "vit", "resnet"])
def test_checkpointed_layers(name):
    source = source_of(name)
    trains, optimizer = ready(source, None)
    labels = chosen_layers(source.layer_map, "all")
    counter = LiveCounter(source)
    live = counter.live(trains, StepSetup(64, labels))
    with LayerCheckpoints(source.model, source.layer_map, labels).installed():
        assert live.training == pytest.approx(counted_peak(source, optimizer, 64), rel=0.005)
    assert live.training < counter.live(trains, StepSetup(64)).training


def test_micro_batches_add_up_gradients():
    source = source_of("bert")
    trains, optimizer = ready(source, None)
    counter = LiveCounter(source)
    live = counter.live(trains, StepSetup(4, accumulates=True))
    assert live.training == pytest.approx(counted_peak(source, optimizer, 4, parts=2), rel=0.005)
    assert live.gradients > counter.live(trains, StepSetup(4)).gradients


def test_folded_convolutions():
    """The norms of a frozen layer between layers that train are in eval mode."""
    source = source_of("resnet")
    middle = [layer.name for layer in source.layer_map if layer.name.startswith("backbone.layer2")]
    trains, optimizer = ready(source, middle)
    pairs = pairs_of(source.model.backbone, torch.randn(2, 3, 32, 32))
    norms = [f"backbone.{pair.norm}" for pair in pairs if not pair.note]
    counter = LiveCounter(LiveSource(**{**vars(source), "folds": {"backbone": pairs}}))
    live = counter.live(trains, StepSetup(128, folded_norms=norms))
    with ConvBN(source.model.backbone, pairs).installed():
        assert live.training == pytest.approx(counted_peak(source, optimizer, 128), rel=0.005)
    assert live.training < counter.live(trains, StepSetup(128)).training


@pytest.mark.parametrize("name", ["bert", "resnet"])
def test_two_traces_give_all_numbers_of_rows(name, monkeypatch):
    source = source_of(name)
    everything = frozenset(source.layer_map.labels)
    exact = LiveCounter(source).live(everything, StepSetup(7), valid_rows=9)
    counter = LiveCounter(source)
    for rows in (2, 3):
        counter.live(everything, StepSetup(rows))
    monkeypatch.setattr(LiveCounter, "_traced_step", lambda *_: pytest.fail("traced again"))
    monkeypatch.setattr(LiveCounter, "_traced_pass", lambda *_: pytest.fail("traced again"))
    assert counter.live(everything, StepSetup(7), valid_rows=9) == exact


def counted_with(source, **changes):
    changed = LiveSource(**{**vars(source), **changes})
    return LiveCounter(changed).live(frozenset(source.layer_map.labels), StepSetup(4), valid_rows=64)


def test_the_parts():
    source = source_of("bert")
    everything = frozenset(source.layer_map.labels)
    head = source.layer_map.labels[-1:]
    live = LiveCounter(source).live(everything, StepSetup(4), valid_rows=64)
    parts = ("parameters", "buffers", "optimizer", "averages", "gradients", "activations", "temporaries")
    assert live.training == sum(getattr(live, name) for name in parts)
    assert live.peak == max(live.training, live.lasting + live.validation)
    few = LiveCounter(source).live(head, StepSetup(4), stateful=everything)
    assert few.optimizer == live.optimizer
    assert few.activations < live.activations
    averaged = counted_with(source, averaged=True)
    assert averaged.averages == sum(one.nbytes for one in source.model.state_dict().values())
    assert averaged.validation == live.validation + averaged.averages  # a copy, while the average is in its place
    sgd = {name: one.nbytes for name, one in source.model.named_parameters()}
    assert 2 * counted_with(source, state=sgd).optimizer == pytest.approx(live.optimizer, rel=0.01)


def test_it_touches_nothing():
    source = source_of("vit")
    source.model.train()
    before = {name: one.clone() for name, one in source.model.state_dict().items()}
    state = torch.get_rng_state()
    LiveCounter(source).live(source.layer_map.labels[-2:], StepSetup(4, precision="bf16"))
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(before[name], one) for name, one in source.model.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in source.model.parameters())
    assert source.model.training


class Matched(nn.Module):
    """Branches on values, asks for an array of outputs, and loops over numbers in the batch, as a detector does."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 4)

    def forward(self, batch):
        found = self.linear(batch["x"])
        rows, columns = assigned(found)
        kept = found[rows, columns]
        if kept.isnan().any():
            kept = kept * 2
        return torch.stack([kept.sum() * count for count in batch["counts"].tolist()])


def assigned(found):
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(found.detach().cpu())
    return torch.as_tensor(rows), torch.as_tensor(columns)


def test_a_model_that_asks_for_values():
    model = Matched()
    layer_map = LayerMap.single(model, name="all", tower="t", role="block")
    batch = lambda rows: {"x": torch.randn(rows, 8), "counts": torch.arange(3)}  # noqa: E731
    live = LiveCounter(LiveSource(model, layer_map, OBJECTIVE, batch, batch)).live(layer_map.labels, StepSetup(6))
    assert live.parameters == 4 * (8 * 4 + 4)
    assert live.activations > 6 * 8 * 4


class Stubborn(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 2)

    def forward(self, batch):
        raise RuntimeError("no")


def test_not_known_where_the_model_does_not_run():
    model = Stubborn()
    layer_map = LayerMap.single(model, name="all", tower="t", role="block")
    never = Objective(lambda *_: torch.zeros(()), lambda _: 1.0)
    source = LiveSource(model, layer_map, never, lambda rows: {"x": torch.ones(rows, 2)}, lambda rows: {})
    assert LiveCounter(source).live(layer_map.labels, StepSetup(2)) is None
