"""What a training step costs with the first layers of a tower frozen, for each number of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from thermocline.efficiency.costs.estimate_plan import StepSetup, step_cost
from thermocline.efficiency.costs.layer_costs import Costs
from thermocline.efficiency.prefix_cache.options import reason_not_cached
from thermocline.efficiency.prefix_cache.prefix import prefix_of
from thermocline.efficiency.savings import SavingsSetup
from thermocline.pipeline.ready import Ready
from thermocline.training.optimizing import optimizer_cost
from thermocline.training.run_savings import setup_of


@dataclass(frozen=True)
class DepthCost:
    """What a step costs with layers frozen, and all others trained.

    Attributes:
        time: Of a step, relative to one in which everything trains; where outputs of frozen first layers can be stored,
            with them stored.
        memory: Bytes of activations, gradients and the optimizer's state.
    """

    time: float
    memory: float


class DepthCosts:
    """Costs of the layers of a fit, from shapes alone.

    Args:
        found: Data and model.
        costs: Of its layers, as a forecast has them; None where they are not known.
    """

    def __init__(self, found: Ready, costs: Costs | None) -> None:
        self._setup, self._costs = setup_of(found.assembly, found.rows), costs
        plan = found.assembly.plan
        self._passes = (plan.total_steps or 0) / max(plan.steps_per_epoch or 1, 1)
        self._step = StepSetup(self._setup.cache.usual, optimizer=optimizer_cost(found.assembly))

    def frozen_up_to(self, tower: str, label: str) -> DepthCost | None:
        """Return what a step costs with a layer and those before it frozen; None where that is not known.

        Args:
            tower: The tower's name in the model.
            label: The layer's.
        """
        layer_map, costs = self._setup.layer_map, self._costs
        if costs is None or not layer_map.confident:
            return None
        last = layer_map[label]
        frozen = {one.label for one in layer_map if one.tower == last.tower and one.depth <= last.depth}
        frozen -= {one.label for one in layer_map if one.role in ("head", "adapter")}
        cached = frozenset(_cached(self._setup, tower, frozen, self._passes))
        trains = frozenset(costs.labels) - frozen
        time = step_cost(costs, trains, self._step, cached=cached)
        return DepthCost(time / step_cost(costs, costs.labels, self._step), _memory(costs, trains, self._step))


def _cached(setup: SavingsSetup, tower: str, frozen: set[str], passes: float) -> tuple[str, ...]:
    prefix = prefix_of(setup.layer_map, tower, frozen)
    reason = reason_not_cached(setup.layer_map, prefix, setup.rows, setup.cache, passes)
    return prefix.labels if reason is None else ()


def _memory(costs: Costs, trains: frozenset[str], step: StepSetup) -> float:
    weights: Mapping[str, int] = {one.label: one.parameter_bytes for one in costs.layers}
    state = step.optimizer.state_bytes(weights, trains)
    return step.rows * sum(costs.saved(trains).values()) + state + sum(weights[label] for label in trains)
