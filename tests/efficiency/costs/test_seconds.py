from __future__ import annotations

from dataclasses import replace

import pytest

from support.backbones import bert, text
from thermocline.efficiency.costs.estimate import duration
from thermocline.efficiency.costs.estimate_plan import StepSetup, estimate
from thermocline.efficiency.costs.layer_costs import layer_costs
from thermocline.efficiency.costs.seconds import StepTimes, with_seconds
from thermocline.tuning.layers.layer_map import LayerMap
from thermocline.tuning.plan.layer_plan import LayerPlan

MODEL = bert()
LAYERS = LayerMap.of(MODEL)
COSTS = layer_costs(MODEL, LAYERS, text, 2)


def scheduled() -> LayerPlan:
    plan = replace(LayerPlan.build(LAYERS), total_steps=40, steps_per_epoch=10)
    return plan.scheduled("gradual_unfreeze")


def test_phases_are_scaled_by_their_cost():
    plan = scheduled()
    found = estimate(plan, LAYERS, COSTS, StepSetup(2))
    last = len(plan.phases) - 1
    timed = with_seconds(found, StepTimes(last, 2.0, 0.5, 3.0, 5, 1.0), plan, [frozenset()] * len(plan.phases))
    for phase in timed.phases:
        relative = phase.cost / timed.phases[last].cost
        assert phase.seconds == pytest.approx(phase.steps * (2.0 * relative + 0.5))
    assert timed.seconds_validating == 16.0
    assert timed.seconds == pytest.approx(sum(phase.seconds for phase in timed.phases) + 16.0)
    assert "Time: " in str(timed)
    assert "time" in str(timed).splitlines()[2]


def test_a_cache_is_filled_in_an_epoch_and_then_nothing_is_read():
    plan = replace(LayerPlan.build(LAYERS, frozen_layers=2), total_steps=40, steps_per_epoch=10)
    cached = [frozenset(LAYERS.labels[:2])]
    found = estimate(plan, LAYERS, COSTS, StepSetup(2), cached=cached)
    (phase,) = with_seconds(found, StepTimes(0, 2.0, 0.5, 0.0, 1), plan, cached).phases
    later = 2.0 * phase.cost / phase.cost_uncached
    assert phase.seconds == pytest.approx(10 * 2.5 + 30 * later)


def test_without_costs_one_phase_is_known_and_several_are_not():
    plan = replace(LayerPlan.build(LAYERS), total_steps=40, steps_per_epoch=10)
    times = StepTimes(0, 2.0, 0.0, 0.0, 1)
    assert with_seconds(estimate(plan, LAYERS, None, StepSetup(2)), times, plan, [frozenset()]).seconds == 80.0
    several = scheduled()
    nothing = [frozenset[str]()] * len(several.phases)
    assert with_seconds(estimate(several, LAYERS, None, StepSetup(2)), times, several, nothing).seconds is None


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(None, "not known"), (0.12, "0.12 s"), (42, "42 s"), (80, "80 s"), (126, "2.1 min"), (9000, "2.5 h")],
)
def test_times_as_they_are_written(seconds, shown):
    assert duration(seconds) == shown
