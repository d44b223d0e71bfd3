"""What a plan will cost, phase by phase, before anything has run: memory, and the time of a step beside full tuning."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING

from thermocline.efficiency.costs import estimate_show
from thermocline.efficiency.costs.layer_costs import Costs
from thermocline.errors import ConfigError, did_you_mean, listing
from thermocline.tuning.layers.layer_map import LayerMap
from thermocline.tuning.plan.layer_plan import LayerPlan
from thermocline.tuning.schedule.phase_layers import drawn
from thermocline.tuning.schedule.timeline import planned_end

if TYPE_CHECKING:
    import pandas as pd

#: By optimizer: numbers that it remembers of a weight, and numbers that a step reads and writes of it. (The gradient
#: is written and read; AdamW reads and writes the weight and two moments, SGD the weight and its momentum.)
OPTIMIZERS = {"adamw": (2, 8), "sgd": (1, 6)}
_DRAWS = 16  # that stand for all draws of a phase


@dataclass(frozen=True)
class PhaseEstimate:
    """What a step costs in one phase.

    Attributes:
        name: The phase's.
        steps: Its optimizer steps; None where the length of the run is not known.
        trainable: Weights that train; the most where layers are drawn.
        forward: The labels of the layers that run, once what is cached is there.
        backward: The labels of the layers that a backward pass comes through.
        begins: Per tower, the first of these.
        activation_bytes: The most that is kept for the backward pass; None where it is not known.
        gradient_bytes: Of the weights that train.
        optimizer_bytes: Of what the optimizer remembers, of earlier phases too.
        cost: A step beside one in which everything trains and nothing is cached; None where it is not known.
        cost_uncached: The same without a cache.
    """

    name: str
    steps: int | None
    trainable: int
    forward: tuple[str, ...]
    backward: tuple[str, ...]
    begins: tuple[str, ...]
    activation_bytes: float | None
    gradient_bytes: int
    optimizer_bytes: int
    cost: float | None
    cost_uncached: float | None

    @property
    def memory_bytes(self) -> float | None:
        """Activations, gradients and the optimizer's memory together."""
        if self.activation_bytes is None:
            return None
        return self.activation_bytes + self.gradient_bytes + self.optimizer_bytes


@dataclass(frozen=True)
class Estimate:
    """What a plan costs.

    Attributes:
        phases: In order.
        rows: Rows through the model at once.
        n_layers: Of the plan.
        n_parameters: Of the model.
        full_bytes: Activations, gradients and optimizer's memory where everything trains.
        cost: Of the whole run beside full tuning as long, the epoch that fills the cache included; None where the
            length of the phases is not known.
        cost_uncached: The same without a cache.
    """

    phases: tuple[PhaseEstimate, ...]
    rows: int
    n_layers: int
    n_parameters: int
    full_bytes: float | None
    cost: float | None
    cost_uncached: float | None

    def to_frame(self) -> pd.DataFrame:
        """Return one row per phase."""
        import pandas as pd

        columns = [one.name for one in fields(PhaseEstimate)]
        return pd.DataFrame([asdict(phase) for phase in self.phases], columns=columns)

    def __str__(self) -> str:
        return estimate_show.text(self)

    def _repr_html_(self) -> str:
        return estimate_show.html(self)


def estimate(
    plan: LayerPlan,
    layer_map: LayerMap,
    costs: Costs | None,
    *,
    rows: int,
    cached: Sequence[Collection[str]] | None = None,
    checkpointed: Collection[str] = (),
    conv_bn: Iterable[str] = (),
    optimizer: str = "adamw",
) -> Estimate:
    """Forecast what a plan costs.

    Args:
        plan: The decisions.
        layer_map: The layers that they are about.
        costs: From `layer_costs`; None where they are not known.
        rows: Rows through the model at once.
        cached: Per phase, the labels of the layers whose forward pass is skipped once their outputs are kept.
        checkpointed: The labels of the layers that are computed again in the backward pass.
        conv_bn: The names of the BatchNorms, all in eval mode, that are joined with the convolution before them.
        optimizer: `adamw` or `sgd`.

    Raises:
        ConfigError: The plan is about other layers, there is no such optimizer, or `cached` has another length than
            the plan's phases.
    """
    plan.check(layer_map)
    if optimizer not in OPTIMIZERS:
        raise ConfigError(
            f"No optimizer {optimizer!r}; an estimate knows {listing(OPTIMIZERS)}.{did_you_mean(optimizer, OPTIMIZERS)}"
        )
    if cached is not None and len(cached) != len(plan.phases):
        raise ConfigError(f"cached holds {len(cached)} sets of layers for {len(plan.phases)} phases; give one a phase.")
    kept = [frozenset(one) for one in cached] if cached is not None else [frozenset[str]()] * len(plan.phases)
    forecast = _Forecast(
        plan, costs, rows, frozenset(checkpointed), {} if costs is None else costs.joined(conv_bn), optimizer
    )
    steps = phase_steps(plan)
    phases: list[PhaseEstimate] = []
    remembered: frozenset[str] = frozenset()
    for number in range(len(plan.phases)):
        sets = trained_sets(plan, number)
        remembered |= frozenset().union(*sets)
        phases.append(forecast.phase(number, sets, kept[number], remembered, None if steps is None else steps[number]))
    everything = frozenset(plan.labels)
    held, numbers = forecast.held(everything), OPTIMIZERS[optimizer][0]
    full = None if held is None else held + (1 + numbers) * forecast.weight_bytes(everything)
    total = sum(layer.n_parameters for layer in plan.layers)
    whole, uncached = _whole_run(phases, kept, plan.steps_per_epoch)
    return Estimate(tuple(phases), rows, len(plan.layers), total, full, whole, uncached)


def step_cost(
    costs: Costs,
    trainable: Collection[str],
    *,
    rows: int,
    cached: Collection[str] = (),
    checkpointed: Collection[str] = (),
    optimizer: str = "adamw",
) -> float:
    """Return what a training step takes, in operations: only the ratio of two such numbers means something.

    The law: time is operations plus bytes moved times the device's balance (`costs.BALANCE`), summed over

    - the forward pass of every layer that is not cached, as it runs when it trains, or rests in eval mode;
    - the gradient of each weight that trains: as many operations as the forward product;
    - the gradient of each input that a layer which trains had a part in: as many again. So a frozen layer above the
      first that trains costs two thirds of a training one, and a frozen prefix nothing backward;
    - the forward pass of checkpointed layers that a backward pass comes through, again;
    - per weight that trains, once a step: the gradient and the optimizer's reads and writes.

    Args:
        costs: Of the layers.
        trainable: The labels of the layers that train.
        rows: Rows of the batch.
        cached: The labels of the layers whose forward pass is skipped.
        checkpointed: The labels of the layers that are computed again.
        optimizer: `adamw` or `sgd`.
    """
    trains = frozenset(trainable)
    work = costs.work(trains, cached=cached, checkpointed=checkpointed) * rows
    weights = sum(layer.parameter_bytes for layer in costs.layers if layer.label in trains)
    return work + costs.balance * OPTIMIZERS[optimizer][1] * weights


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


class _Forecast:
    """What is the same for all phases."""

    def __init__(
        self,
        plan: LayerPlan,
        costs: Costs | None,
        rows: int,
        checkpointed: frozenset[str],
        conv_bn: dict[str, float],
        optimizer: str,
    ) -> None:
        self.plan, self.costs, self.rows = plan, costs, rows
        self.checkpointed, self.conv_bn, self.optimizer = checkpointed, conv_bn, optimizer
        self._full = self._cost(frozenset(plan.labels), frozenset(), frozenset())
        self._bytes = {layer.label: 4 * layer.n_parameters for layer in plan.layers}
        if costs is not None:
            self._bytes |= {layer.label: layer.parameter_bytes for layer in costs.layers}

    def phase(
        self,
        number: int,
        sets: list[frozenset[str]],
        cached: frozenset[str],
        remembered: frozenset[str],
        steps: int | None,
    ) -> PhaseEstimate:
        """Forecast a phase in which one of these sets trains at a time."""
        sizes = {layer.label: layer.n_parameters for layer in self.plan.layers}
        held = [self.held(trains) for trains in sets]
        reach = frozenset().union(*(self._reach(trains) for trains in sets))
        backward = tuple(label for label in self.plan.labels if label in reach)
        return PhaseEstimate(
            name=self.plan.phases[number].name,
            steps=steps,
            trainable=max(sum(sizes[label] for label in trains) for trains in sets),
            forward=tuple(label for label in self.plan.labels if label not in cached),
            backward=backward,
            begins=self._begins(backward),
            activation_bytes=None if self.costs is None else max(one for one in held if one is not None),
            gradient_bytes=max(self.weight_bytes(trains) for trains in sets),
            optimizer_bytes=OPTIMIZERS[self.optimizer][0] * self.weight_bytes(remembered),
            cost=self._relative(sets, cached),
            cost_uncached=self._relative(sets, frozenset()),
        )

    def weight_bytes(self, labels: frozenset[str]) -> int:
        """Bytes of the parameters of layers."""
        return sum(self._bytes[label] for label in labels)

    def held(self, trains: frozenset[str]) -> float | None:
        """The most bytes that activations take: what is kept, and a checkpointed layer's while it is gone through."""
        if self.costs is None:
            return None
        total, open_ = 0.0, 0.0
        for label, size in self.costs.saved(trains).items():
            size = max(size - self.conv_bn.get(label, 0.0), 0.0)
            if label in self.checkpointed:
                total += min(size, self.costs[label].input_bytes)
                open_ = max(open_, size)
            else:
                total += size
        return (total + open_) * self.rows

    def _reach(self, trains: frozenset[str]) -> frozenset[str]:
        """Where a backward pass comes; without costs, by depth within each tower."""
        if self.costs is not None:
            return self.costs.reach(trains)
        first = {layer.tower: layer.depth for layer in reversed(self.plan.layers) if layer.label in trains}
        return frozenset(one.label for one in self.plan.layers if one.depth >= first.get(one.tower, one.depth + 1))

    def _begins(self, backward: tuple[str, ...]) -> tuple[str, ...]:
        towers = {self.plan[label].tower: label for label in reversed(backward)}
        return tuple(label for label in backward if towers[self.plan[label].tower] == label)

    def _relative(self, sets: list[frozenset[str]], cached: frozenset[str]) -> float | None:
        if self._full is None:
            return None
        each = [self._cost(trains, cached, self.checkpointed) or 0.0 for trains in sets]
        return sum(each) / len(each) / self._full

    def _cost(self, trains: frozenset[str], cached: frozenset[str], again: frozenset[str]) -> float | None:
        if self.costs is None:
            return None
        return step_cost(
            self.costs, trains, rows=self.rows, cached=cached, checkpointed=again, optimizer=self.optimizer
        )


def _whole_run(
    phases: Sequence[PhaseEstimate], kept: Sequence[frozenset[str]], per_epoch: int | None
) -> tuple[float | None, float | None]:
    """The mean cost of a step over the run; a cache that holds more than in the phase before takes an epoch to fill."""
    total, with_cache, without = 0, 0.0, 0.0
    before: frozenset[str] = frozenset()
    for phase, cached in zip(phases, kept, strict=True):
        if phase.steps is None or phase.cost is None or phase.cost_uncached is None or per_epoch is None:
            return None, None
        filling = min(phase.steps, per_epoch) if not cached <= before else 0
        with_cache += filling * phase.cost_uncached + (phase.steps - filling) * phase.cost
        without += phase.steps * phase.cost_uncached
        total += phase.steps
        before = cached
    return (with_cache / total, without / total) if total else (None, None)
