from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from support.backbones import bert
from thermocline.efficiency.costs.estimate_plan import StepSetup, estimate, phase_steps, step_cost
from thermocline.efficiency.costs.layer_costs import BALANCE, layer_costs
from thermocline.efficiency.costs.optimizer_cost import SGD
from thermocline.errors import ConfigError
from thermocline.tuning.layers.layer_map import LayerMap
from thermocline.tuning.plan.layer_plan import LayerPlan


class Classifier(nn.Module):
    """Twelve equal blocks under a small head."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = bert(12, 384)
        self.head = nn.Linear(384, 2)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(self.backbone(input_ids=ids)[0][:, 0])


MODEL = Classifier()
LAYERS = LayerMap.of(MODEL, head=MODEL.head)
IDS = torch.arange(5, 53).reshape(2, 24)
COSTS = layer_costs(MODEL, LAYERS, lambda shadow: shadow(IDS), 2)
BLOCKS = [layer.label for layer in LAYERS if layer.role == "block"]


def plan_of(frozen=None) -> LayerPlan:
    return LayerPlan.build(LAYERS, frozen_layers=frozen)


@pytest.mark.parametrize(("frozen", "cost", "cached"), [(13, 0.33, 0.0), (11, 0.44, 0.18), (0, 1.0, 1.0)])
def test_the_law(frozen, cost, cached):
    """Measured on twelve equal blocks: the head alone .33 of full tuning, the last two blocks .44, cached .18."""
    kept = frozenset(LAYERS.labels[:frozen])
    phase = estimate(plan_of(frozen or None), LAYERS, COSTS, StepSetup(2000), cached=[kept]).phases[0]
    assert phase.cost_uncached == pytest.approx(cost, abs=0.06)
    assert phase.cost == pytest.approx(cached, abs=0.03)
    assert phase.forward == LAYERS.labels[frozen:]
    assert phase.begins == (LAYERS.labels[frozen],)


def test_frozen_above_the_first_that_trains(monkeypatch):
    """They still need the gradient of their input: two thirds of a layer that trains."""
    monkeypatch.setitem(BALANCE, "cpu", 0.0)
    lowest = step_cost(COSTS, [LAYERS.labels[0], "model/head"], StepSetup(1000))
    assert lowest / step_cost(COSTS, LAYERS.labels, StepSetup(1000)) == pytest.approx(2 / 3, abs=0.03)


@settings(max_examples=40, deadline=None)
@given(st.sets(st.sampled_from(LAYERS.labels), min_size=1), st.sampled_from(LAYERS.labels))
def test_more_that_trains_never_costs_less(trains, other):
    full = step_cost(COSTS, LAYERS.labels, StepSetup(8))
    cost = step_cost(COSTS, trains, StepSetup(8))
    assert cost <= step_cost(COSTS, trains | {other}, StepSetup(8)) <= full
    assert sum(COSTS.saved(trains).values()) <= sum(COSTS.saved(trains | {other}).values()) * 1.001
    prefix = [label for label in LAYERS.labels if label not in COSTS.reach(trains)]
    assert step_cost(COSTS, trains, StepSetup(8), cached=prefix) <= cost
    assert cost <= step_cost(COSTS, trains, StepSetup(8, BLOCKS))


def test_memory():
    plan = plan_of(5)
    trains = [label for label in LAYERS.labels if label not in plan.frozen]
    weights = 4 * sum(LAYERS[label].n_parameters for label in trains)
    phase = estimate(plan, LAYERS, COSTS, StepSetup(8)).phases[0]
    assert phase.gradient_bytes == weights
    assert phase.optimizer_bytes == 2 * weights
    assert estimate(plan, LAYERS, COSTS, StepSetup(8, optimizer=SGD)).phases[0].optimizer_bytes == weights
    assert phase.activation_bytes == pytest.approx(8 * sum(COSTS.saved(trains).values()))
    again = estimate(plan, LAYERS, COSTS, StepSetup(8, BLOCKS)).phases[0]
    assert again.activation_bytes < 0.3 * phase.activation_bytes
    assert 1.15 < again.cost / phase.cost < 1.4


def test_phases_and_the_whole_run():
    plan = replace(plan_of(), total_steps=40, steps_per_epoch=10).scheduled("fine_tune(freeze_epochs=2)")
    assert phase_steps(plan) == [20, 20]
    backbone = frozenset(LAYERS.labels[:-1])
    found = estimate(plan, LAYERS, COSTS, StepSetup(8), cached=[backbone, frozenset()])
    first, second = found.phases
    assert first.optimizer_bytes < second.optimizer_bytes
    assert second.cost == pytest.approx(1.0)
    # one epoch fills the cache, one uses it
    expected = (10 * first.cost_uncached + 10 * first.cost + 20 * second.cost) / 40
    assert found.cost == pytest.approx(expected)
    assert found.cost_uncached == pytest.approx((first.cost_uncached + second.cost) / 2)
    assert phase_steps(plan_of()) is None
    assert estimate(plan_of(), LAYERS, COSTS, StepSetup(8)).cost is None


def test_drawn_layers():
    plan = plan_of().scheduled("lisa(n_layers=2, every=5)")
    phase = estimate(plan, LAYERS, COSTS, StepSetup(8)).phases[0]
    sizes = {layer.label: layer.n_parameters for layer in LAYERS}
    outside = sum(size for label, size in sizes.items() if label not in BLOCKS)
    assert phase.trainable == outside + 2 * sizes[BLOCKS[0]]
    assert 0.6 < phase.cost < 0.85


def test_not_known():
    found = estimate(plan_of(3), LAYERS, None, StepSetup(8))
    phase = found.phases[0]
    assert phase.cost is phase.activation_bytes is phase.memory_bytes is found.cost is None
    assert phase.gradient_bytes == 4 * phase.trainable
    assert set(phase.backward) == set(LAYERS.labels[3:])
    assert "not known" in str(found)
    assert "not known" in found._repr_html_()


def test_what_cannot_be():
    with pytest.raises(ConfigError, match="2 sets of layers for 1 phases"):
        estimate(plan_of(), LAYERS, COSTS, StepSetup(8), cached=[set(), set()])
    with pytest.raises(ConfigError):
        estimate(plan_of(), LayerMap.of(bert()), COSTS, StepSetup(8))


def test_how_it_looks(monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    plan = replace(plan_of(), total_steps=40, steps_per_epoch=10).scheduled("fine_tune(freeze_epochs=2)")
    found = estimate(plan, LAYERS, COSTS, StepSetup(8), cached=[frozenset(LAYERS.labels[:-1]), frozenset()])
    head, header, *rows = str(found).splitlines()
    assert head.startswith("Estimate: 8 rows a step, the run costs 0.")
    assert "without the cache" in head
    assert header.split()[-2:] == ["cost", "uncached"]
    assert len(rows) == 2
    assert "1 of 14" in rows[0]
    assert list(found.to_frame()["name"]) == [phase.name for phase in plan.phases]
    html = found._repr_html_()
    assert html.count("<tr>") == 3
    assert html.count("class=bar") == 2
    assert "uncached" not in str(estimate(plan, LAYERS, COSTS, StepSetup(8)))
