"""Estimates what a plan costs from the costs of its layers, before anything has run."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from thermocline.efficiency.costs.estimate import Estimate, PhaseEstimate
from thermocline.efficiency.costs.layer_costs import Costs
from thermocline.efficiency.costs.optimizer_cost import ADAMW, OptimizerCost
from thermocline.efficiency.costs.seconds import filling_steps
from thermocline.errors import ConfigError
from thermocline.tuning.layers.layer_map import LayerMap
from thermocline.tuning.plan.layer_plan import LayerPlan
from thermocline.tuning.schedule.phase_ends import planned_end
from thermocline.tuning.schedule.phase_layers import drawn

_DRAWS = 16  # that stand for all draws of a phase


@dataclass(frozen=True)
class StepSetup:
    """How a training step runs.

    Attributes:
        rows: Rows through the model at once.
        checkpointed: The labels of the layers that are computed again in the backward pass.
        folded_norms: The names of the BatchNorms, all in eval mode, that are folded with the convolution before them.
        optimizer: What it holds and does.
        precision: `fp32`, `bf16` or `fp16`: the number format of the forward pass; weights have 32 bits in each.
        accumulates: Whether a step has several micro-batches, whose gradients are added up.
    """

    rows: int
    checkpointed: Collection[str] = ()
    folded_norms: Collection[str] = ()
    optimizer: OptimizerCost = ADAMW
    precision: str = "fp32"
    accumulates: bool = False


def estimate(
    plan: LayerPlan,
    layer_map: LayerMap,
    costs: Costs | None,
    setup: StepSetup,
    *,
    cached: Sequence[Collection[str]] | None = None,
) -> Estimate:
    """Estimate what a plan costs.

    Args:
        plan: The decisions.
        layer_map: The layers that they are about.
        costs: From `layer_costs`; None where they are not known.
        setup: How a step runs.
        cached: Per phase, the labels of the layers whose forward pass is skipped once their outputs are stored.

    Raises:
        ConfigError: The plan is about other layers, or `cached` has another length than the plan's phases.
    """
    plan.check(layer_map)
    if cached is not None and len(cached) != len(plan.phases):
        raise ConfigError(f"cached holds {len(cached)} sets of layers for {len(plan.phases)} phases; give one a phase.")
    skipped = [frozenset(one) for one in cached] if cached is not None else [frozenset[str]()] * len(plan.phases)
    calculation, steps = _Calculation(plan, costs, setup), phase_steps(plan)
    phases: list[PhaseEstimate] = []
    with_state: frozenset[str] = frozenset()
    for number in range(len(plan.phases)):
        sets = trained_sets(plan, number)
        with_state |= frozenset().union(*sets)
        length = None if steps is None else steps[number]
        phases.append(calculation.phase(number, sets, skipped[number], with_state, length))
    total = sum(layer.n_parameters for layer in plan.layers)
    cost, uncached = _whole_run(phases, skipped, plan.steps_per_epoch)
    return Estimate(tuple(phases), setup.rows, len(plan.layers), total, calculation.full_bytes, cost, uncached)


def step_cost(costs: Costs, trainable: Collection[str], setup: StepSetup, *, cached: Collection[str] = ()) -> float:
    """Return what a training step takes, in operations: only the ratio of two such numbers has a meaning.

    The law: time is operations plus bytes moved times the device's balance (`layer_costs.BALANCE`), summed over

    - the forward pass of every layer that is not cached, in train mode where it trains, else in eval mode;
    - the gradient of each weight that trains: as many operations as the forward product;
    - the gradient of each input that depends on a layer that trains: as many again. So a frozen layer above the first
      that trains costs two thirds of one that trains, and a frozen prefix has no backward pass;
    - the forward pass of checkpointed layers that the backward pass reaches, again;
    - per weight that trains, once a step: the gradient, the optimizer's reads and writes, and what it computes besides.

    Args:
        costs: Of the layers.
        trainable: The labels of the layers that train.
        setup: How a step runs.
        cached: The labels of the layers whose forward pass is skipped.
    """
    trains = frozenset(trainable)
    work = costs.work(trains, cached=cached, checkpointed=setup.checkpointed) * setup.rows
    sizes = {layer.label: layer.parameter_bytes for layer in costs.layers if layer.label in trains}
    return work + costs.balance * setup.optimizer.moved(sizes, sizes) + setup.optimizer.computed(sizes)


def trained_sets(plan: LayerPlan, phase: int) -> list[frozenset[str]]:
    """Return the labels that train in a phase: one set, or those of its first draws."""
    timeline, draw = plan.timeline, plan.phases[phase].draw
    if draw is None:
        return [timeline.always[phase]]
    return [timeline.always[phase] | drawn(draw, timeline.pools[phase], number) for number in range(_DRAWS)]


def phase_steps(plan: LayerPlan) -> list[int] | None:
    """Return the steps of each phase if no plateau ends one sooner; None where the length of the run is not known."""
    if plan.total_steps is None:
        return None
    out, start = [], 0
    for number, phase in enumerate(plan.phases):
        if phase.epochs is not None and not plan.steps_per_epoch:
            return None
        last = number == len(plan.phases) - 1
        end = plan.total_steps if last else planned_end(phase, start, plan.total_steps, plan.steps_per_epoch or 0)
        end = max(start, min(end, plan.total_steps))
        out.append(end - start)
        start = end
    return out


class _Calculation:
    """What is the same for all phases of an estimate.

    Attributes:
        full_bytes: Activations, gradients and the optimizer's state where everything trains; None where not known.
    """

    def __init__(self, plan: LayerPlan, costs: Costs | None, setup: StepSetup) -> None:
        self.plan, self.costs, self.setup = plan, costs, setup
        self._spared = {} if costs is None else costs.spared_by_folding(setup.folded_norms)
        self._bytes = {layer.label: 4 * layer.n_parameters for layer in plan.layers}
        if costs is not None:
            self._bytes |= {layer.label: layer.parameter_bytes for layer in costs.layers}
        everything = frozenset(plan.labels)
        plain = StepSetup(setup.rows, optimizer=setup.optimizer)
        self._full_cost = None if costs is None else step_cost(costs, everything, plain)
        weights = self._weight_bytes(everything) + setup.optimizer.state_bytes(self._bytes, everything)
        activations = self._activation_bytes(everything)
        self.full_bytes = None if activations is None else activations + weights

    def phase(
        self,
        number: int,
        sets: list[frozenset[str]],
        cached: frozenset[str],
        with_state: frozenset[str],
        steps: int | None,
    ) -> PhaseEstimate:
        """Estimate a phase in which one of these sets trains at a time.

        Args:
            number: Of the phase.
            sets: The labels of the layers that train, by draw.
            cached: The labels of the layers whose forward pass is skipped.
            with_state: The labels of the layers for which the optimizer has a state.
            steps: Of the phase; None where not known.
        """
        sizes = {layer.label: layer.n_parameters for layer in self.plan.layers}
        activations = [self._activation_bytes(trains) for trains in sets]
        reached = frozenset().union(*(self._reached(trains) for trains in sets))
        backward = tuple(label for label in self.plan.labels if label in reached)
        return PhaseEstimate(
            name=self.plan.phases[number].name,
            steps=steps,
            trainable=max(sum(sizes[label] for label in trains) for trains in sets),
            forward=tuple(label for label in self.plan.labels if label not in cached),
            backward=backward,
            begins=self._first_of_towers(backward),
            activation_bytes=None if self.costs is None else max(one for one in activations if one is not None),
            gradient_bytes=max(self._weight_bytes(trains) for trains in sets),
            optimizer_bytes=self.setup.optimizer.state_bytes(self._bytes, with_state),
            cost=self._relative_cost(sets, cached),
            cost_uncached=self._relative_cost(sets, frozenset()),
        )

    def _weight_bytes(self, labels: frozenset[str]) -> int:
        return sum(self._bytes[label] for label in labels)

    def _activation_bytes(self, trains: frozenset[str]) -> float | None:
        """The most bytes of activations: what is saved, and what one checkpointed layer saves when computed again."""
        if self.costs is None:
            return None
        total, recomputed = 0.0, 0.0
        for label, size in self.costs.saved(trains).items():
            size = max(size - self._spared.get(label, 0.0), 0.0)
            if label in self.setup.checkpointed:
                total += min(size, self.costs[label].input_bytes)
                recomputed = max(recomputed, size)
            else:
                total += size
        return (total + recomputed) * self.setup.rows

    def _reached(self, trains: frozenset[str]) -> frozenset[str]:
        """The layers that the backward pass reaches; without costs, by depth within each tower."""
        if self.costs is not None:
            return self.costs.reach(trains)
        first = {layer.tower: layer.depth for layer in reversed(self.plan.layers) if layer.label in trains}
        return frozenset(one.label for one in self.plan.layers if one.depth >= first.get(one.tower, one.depth + 1))

    def _first_of_towers(self, labels: tuple[str, ...]) -> tuple[str, ...]:
        first = {self.plan[label].tower: label for label in reversed(labels)}
        return tuple(label for label in labels if first[self.plan[label].tower] == label)

    def _relative_cost(self, sets: list[frozenset[str]], cached: frozenset[str]) -> float | None:
        if self.costs is None or self._full_cost is None:
            return None
        each = [step_cost(self.costs, trains, self.setup, cached=cached) for trains in sets]
        return sum(each) / len(each) / self._full_cost


def _whole_run(
    phases: Sequence[PhaseEstimate], skipped: Sequence[frozenset[str]], per_epoch: int | None
) -> tuple[float | None, float | None]:
    """Return the mean cost of a step over the run, with and without a cache.

    A cache with layers that the phase before did not cache takes an epoch to fill.
    """
    total, with_cache, without = 0, 0.0, 0.0
    before: frozenset[str] = frozenset()
    for phase, cached in zip(phases, skipped, strict=True):
        if phase.steps is None or phase.cost is None or phase.cost_uncached is None or per_epoch is None:
            return None, None
        filling = filling_steps(phase.steps, per_epoch, cached, before)
        with_cache += filling * phase.cost_uncached + (phase.steps - filling) * phase.cost
        without += phase.steps * phase.cost_uncached
        total += phase.steps
        before = cached
    return (with_cache / total, without / total) if total else (None, None)
