from __future__ import annotations

import pytest
import timm
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from support.backbones import MODELS, bert, image, kept_bytes, resnet, text, vit
from support.flops import counted
from thermocline.efficiency.costs import layer_costs as costs_module
from thermocline.efficiency.costs.layer_costs import layer_costs
from thermocline.inputs.table.tower import TableTower
from thermocline.inputs.text.tower import TextTower
from thermocline.problems.rowwise.model import FusionModel
from thermocline.tuning.apply import AppliedPlan
from thermocline.tuning.layers.layer_map import LayerMap
from thermocline.tuning.plan.layer_plan import LayerPlan

ROWS = {text: 2, image: 3}


@pytest.fixture
def only_flops(monkeypatch):
    monkeypatch.setitem(costs_module.BALANCE, "cpu", 0.0)


def trained(model: nn.Module, layer_map: LayerMap, frozen) -> frozenset[str]:
    plan = LayerPlan.build(layer_map, frozen_layers=frozen)
    AppliedPlan(model, layer_map, plan).train()
    return frozenset(layer_map.labels) - set(plan.frozen)


def real(model: nn.Module, call) -> tuple[float, float]:
    """Operations of a step, and bytes that it keeps."""
    kept = kept_bytes(model, call)
    flops = counted(lambda: call(model).float().sum().backward())
    model.zero_grad()
    return flops, kept


@pytest.mark.parametrize("backend", [SDPBackend.MATH, SDPBackend.FLASH_ATTENTION])
def test_a_real_pass_counts_every_kernel_of_attention(backend):
    """torch 2.14 counts nothing for the fused one on a CPU."""
    query, key = torch.randn(2, 2, 12, 8), torch.randn(2, 2, 10, 8)
    with sdpa_kernel(backend):
        flops = counted(lambda: nn.functional.scaled_dot_product_attention(query, key, key))
    assert flops == 2 * (2 * 2 * 12 * 10 * (8 + 8))


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("frozen", [None, 1, 2, "backbone"])
def test_as_a_real_pass(name, frozen, only_flops):
    make, call = MODELS[name]
    model = make()
    layer_map = LayerMap.of(model)
    if frozen == "backbone" and not any(layer.role == "head" for layer in layer_map):
        frozen = 3
    costs = layer_costs(model, layer_map, call, ROWS[call])
    trains = trained(model, layer_map, frozen)
    flops, kept = real(model, call)
    assert costs.work(trains) * ROWS[call] == pytest.approx(flops, rel=0.03)
    assert sum(costs.saved(trains).values()) * ROWS[call] == pytest.approx(kept, rel=0.09)


def test_a_layer_alone_in_the_middle(only_flops):
    """What is frozen above it hands the gradient through: no weight gradients, and less is kept."""
    model = bert(4)
    layer_map = LayerMap.of(model)
    costs = layer_costs(model, layer_map, text, 2)
    trains = trained(model, layer_map, [layer_map[one].name for one in layer_map.labels if not one.endswith(".1")])
    flops, kept = real(model, text)
    assert costs.work(trains) * 2 == pytest.approx(flops, rel=0.01)
    assert sum(costs.saved(trains).values()) * 2 == pytest.approx(kept, rel=0.09)
    assert costs.reach(trains) == set(layer_map.labels[2:])


def test_it_is_linear_in_rows_and_touches_nothing():
    model = vit()
    layer_map = LayerMap.of(model)
    before = {name: (p.requires_grad, p.clone()) for name, p in model.named_parameters()}
    state = torch.get_rng_state()
    one = layer_costs(model, layer_map, lambda m: m(torch.empty(2, 3, 32, 32)), 2)
    other = layer_costs(model, layer_map, lambda m: m(torch.empty(6, 3, 32, 32)), 6)
    assert torch.equal(state, torch.get_rng_state())
    for name, p in model.named_parameters():
        assert p.requires_grad == before[name][0]
        assert torch.equal(p, before[name][1])
    for few, many in zip(one.layers, other.layers, strict=True):
        assert few.flops == pytest.approx(many.flops)
        assert few.moved_bytes == pytest.approx(many.moved_bytes, rel=0.02)
        assert few.saved_bytes == pytest.approx(many.saved_bytes, rel=0.02)


def test_facts_of_a_layer():
    model = bert()
    layer_map = LayerMap.of(model)
    costs = layer_costs(model, layer_map, text, 2)
    block = costs[layer_map.labels[1]]
    state = 12 * 16 * 4  # tokens, width, bytes
    assert block.output_bytes == block.input_bytes == state
    assert block.parameter_bytes == 4 * layer_map[block.label].n_parameters == 4 * block.n_parameters
    assert block.flops >= 2 * 12 * (4 * 16 * 16 + 2 * 16 * 32)
    assert list(costs.to_frame()["label"]) == list(layer_map.labels)
    with pytest.raises(KeyError, match="Did you mean"):
        costs[block.label[:-1]]


def test_towers_side_by_side():
    torch.manual_seed(0)
    towers = {
        "text": TextTower(bert(), pooling="mean", pretrained=True),
        "table": TableTower([[0.0, 0.5, 1.0]], [3], width=8, blocks=2, dropout=0.1, embedding="piecewise"),
    }
    model = FusionModel(towers, 2, width=8, dropout=0.1)
    layer_map = LayerMap.join(
        {
            "towers.text.backbone": LayerMap.of(model.towers["text"].backbone, tower="text"),
            "towers.table": LayerMap.from_patterns(model.towers["table"], ["stem", "blocks.*", "out"], tower="table"),
            "fusion": LayerMap.single(model.fusion, name="mlp", tower="fusion", role="fusion"),
            "head": LayerMap.single(model.head, name="head", tower="fusion", role="head", depth=1),
        }
    )
    batch = {
        "text": {
            "input_ids": torch.arange(5, 29).reshape(2, 12),
            "attention_mask": torch.ones(2, 12, dtype=torch.long),
        },
        "table": {
            "numbers": torch.rand(2, 1),
            "missing": torch.zeros(2, 1),
            "codes": torch.ones(2, 1, dtype=torch.long),
        },
    }
    costs = layer_costs(model, layer_map, lambda shadow: shadow(batch), 2)
    joint = {"fusion/mlp", "fusion/head"}
    words, cells = [label for label in costs.labels if label[:4] == "text"], [*costs.labels[-6:-2]]
    assert costs.reach(joint) == joint
    assert costs.reach([words[-1]]) == {words[-1], *joint}
    assert costs.reach([cells[0]]) == {*cells, *joint}
    assert costs.reach([words[0], cells[-1]]) == {*words, cells[-1], *joint}
    trains = trained(model, layer_map, 2)
    assert sum(costs.saved(trains).values()) * 2 == pytest.approx(kept_bytes(model, lambda m: m(batch)), rel=0.1)


def test_folded_convolutions_save_one_tensor_less():
    model = resnet()
    costs = layer_costs(model, LayerMap.of(model), image, 3)
    spared = costs.spared_by_folding(["layer4.0.bn1", "layer4.0.bn2", "no.such"])
    assert spared == {"model/layer4.0": 2 * 512 * 4}  # one pixel of 512 channels is left of 32 x 32


class Stubborn(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(self.linear(x).detach().numpy())


def test_not_known_where_shapes_do_not_say():
    model = Stubborn()
    layer_map = LayerMap.single(model, name="all", tower="t", role="block")
    assert layer_costs(model, layer_map, lambda m: m(torch.ones(1, 2)), 1) is None


def test_attention_as_the_device_runs_it():
    """A fused kernel keeps no scores; on a CPU there is none with dropout."""
    model = timm.create_model(
        "vit_tiny_patch16_224", img_size=64, embed_dim=24, depth=2, num_heads=2, attn_drop_rate=0.1
    )
    layer_map = LayerMap.of(model)
    call = lambda m: m(torch.empty(2, 3, 64, 64))  # noqa: E731
    plain, fused = (layer_costs(model, layer_map, call, 2, device=device) for device in ("cpu", "cuda"))
    scores = 2 * 17 * 17 * 4
    assert plain["model/blocks.0"].saved_bytes > fused["model/blocks.0"].saved_bytes + scores
