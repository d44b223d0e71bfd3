"""What a run saves, and what a step of it costs, before anything has run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from thermocline.data.batches import Rows
from thermocline.efficiency.costs.estimate import Estimate, size
from thermocline.efficiency.costs.estimate_plan import StepSetup, estimate, phase_steps, trained_sets
from thermocline.efficiency.costs.layer_costs import Costs
from thermocline.efficiency.costs.live_bytes import needed_to_run
from thermocline.efficiency.costs.live_counter import CountedRun
from thermocline.efficiency.costs.optimizer_cost import OptimizerCost
from thermocline.efficiency.costs.seconds import StepTimes, with_seconds
from thermocline.efficiency.costs.side_by_side import SideBySide, side_by_side
from thermocline.efficiency.prefix_cache.options import reason_not_cached
from thermocline.efficiency.prefix_cache.prefix import Prefix, prefix_of
from thermocline.efficiency.prefix_cache.tower_rows import TowerRows
from thermocline.efficiency.savings import Savings, SavingsSetup
from thermocline.report.screen import paragraph
from thermocline.report.tables import html_block, html_lines, ranges
from thermocline.tuning.layers.layer_map import LayerMap
from thermocline.tuning.plan.layer_plan import LayerPlan
from thermocline.tuning.schedule.cursor import Cursor

if TYPE_CHECKING:
    import pandas as pd

    from thermocline.contracts.tower import Tower


@dataclass(frozen=True, repr=False)
class Forecast:
    """What a run saves and costs.

    Attributes:
        estimate: Memory and the relative cost of a step, by phase.
        saved: Per phase: what is cached, folded and computed again, or why it is not; a line each.
        side_by_side: The plan with the backbone unfrozen and frozen, for a model whose layers have parts.
        start: What the start of the head takes, in words, or nothing.
        costs: Of the layers; None where they are not known.

    Example:
        >>> forecast = predictor.explain(train, hyperparameters=tiny).estimate
        >>> forecast.estimate.rows, forecast.estimate.n_layers, forecast.estimate.cost
        (16, 8, 1.0)
        >>> forecast.to_frame()[["name", "steps"]]
            name  steps
        0  train      3
    """

    estimate: Estimate
    saved: tuple[tuple[str, ...], ...]
    side_by_side: SideBySide | None = None
    start: str = ""
    costs: Costs | None = field(default=None, repr=False, compare=False)

    def to_frame(self) -> pd.DataFrame:
        """Return one row per phase."""
        frame = self.estimate.to_frame()
        frame["saved"] = ["; ".join(lines) for lines in self.saved]
        return frame

    @property
    def _lines(self) -> list[str]:
        """The start of the head, and what is saved; what holds for several phases stands once."""
        phases: dict[str, list[int]] = {}
        for number, lines in enumerate(self.saved, 1):
            for line in lines:
                phases.setdefault(line, []).append(number)
        return [self.start] * bool(self.start) + [f"{self._of(own)}{line}" for line, own in phases.items()]

    def _of(self, numbers: Sequence[int]) -> str:
        """The phases of a line, in words, where it is not of all."""
        if len(numbers) == len(self.estimate.phases):
            return ""
        if len(numbers) == 1:
            return f"{self.estimate.phases[numbers[0] - 1].name}: "
        return f"phases {ranges(numbers)}: "

    def __str__(self) -> str:
        versions = [] if self.side_by_side is None else [str(self.side_by_side)]
        return "\n".join([str(self.estimate), *map(paragraph, self._lines), *versions])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        versions = "" if self.side_by_side is None else self.side_by_side._repr_html_()
        return f"{self.estimate._repr_html_()}{html_block(html_lines(self._lines))}{versions}"


def passes(plan: LayerPlan, cursor: Cursor, *, probed: bool) -> float:
    """Return how often the training rows run through the model while the layers that train now do, at most.

    It depends on the phase (or its draw) and not on the step within it, so that a resumed run decides alike.

    Args:
        plan: The plan.
        cursor: Of a step of the phase.
        probed: Whether a probe runs before the first step.
    """
    start, end = plan.timeline.stretch_start(cursor), plan.timeline.stretch_end(cursor)
    return (end - start) / max(cursor.steps_per_epoch, 1) + (probed and start == 0)


@dataclass(frozen=True)
class Facts:
    """What a forecast is told of a run besides what it saves.

    Attributes:
        optimizer: What the optimizer holds and does.
        probe: What a probe before the first step takes, in words; empty where there is none.
        averaged: Whether there is a moving average of the weights: then only layers that are frozen in all phases are
            cached.
        counted: Counts the live bytes of a step; None: they are not counted.
        base: Bytes that the process takes without the model.
        times: What three steps took, where they were timed.
    """

    optimizer: OptimizerCost
    probe: str
    averaged: bool
    counted: CountedRun | None = None
    base: int = 0
    times: StepTimes | None = None


def forecast(savings: Savings, facts: Facts) -> Forecast:
    """Forecast what a run saves and costs.

    Args:
        savings: Of the run.
        facts: What else is known of it.
    """
    probe = facts.probe
    setup = savings.setup
    plan, steps = setup.plan, phase_steps(setup.plan)
    cached: list[frozenset[str]] = []
    saved: list[tuple[str, ...]] = []
    start = 0
    for number in range(len(plan.phases)):
        cursor = Cursor(start, plan.total_steps or 0, number, start, plan.steps_per_epoch or 0)
        uses = passes(plan, cursor, probed=bool(probe)) if steps else 0.0
        start += steps[number] if steps else 0
        trains = plan.timeline.ever if facts.averaged else trained_sets(plan, number)[0]
        frozen = frozenset(plan.labels) - trains
        labels, lines = _cached(setup, frozen, uses)
        cached.append(labels)
        saved.append((*lines, *(f"{topic}: {line}" for topic, line in savings.lines(frozen).items())))
    again = savings.checkpoints.labels if savings.checkpoints else ()
    step = StepSetup(setup.cache.usual, again, savings.folded_norms, facts.optimizer)
    expected = estimate(plan, setup.layer_map, setup.costs, step, cached=cached)
    expected = _with_bytes(expected, plan, facts, setup.device.type)
    if facts.times is not None:
        expected = with_seconds(expected, facts.times, plan, cached)
    unfolded = StepSetup(setup.cache.usual, again, optimizer=facts.optimizer)
    versions = side_by_side(plan, setup.layer_map, setup.costs, unfolded)
    return Forecast(expected, tuple(saved), versions, probe, setup.costs)


def _with_bytes(expected: Estimate, plan: LayerPlan, facts: Facts, device: str) -> Estimate:
    """Return an estimate with the live bytes of its phases, and what they need to run."""
    if facts.counted is None:
        return expected
    phases = []
    for number, phase in enumerate(expected.phases):
        earlier = frozenset().union(*(plan.timeline.always[each] for each in range(number)))
        phases.append(replace(phase, live=facts.counted.live(trained_most(plan, number), stateful=earlier)))
    expected = replace(expected, phases=tuple(phases), device=device)
    if expected.live is None:
        return expected
    return replace(expected, needed_bytes=needed_to_run(expected.live, device, base=facts.base))


def trained_most(plan: LayerPlan, phase: int) -> frozenset[str]:
    """Return the labels that train in a phase; of its first draws those with the most parameters."""
    sizes = {layer.label: layer.n_parameters for layer in plan.layers}
    return max(trained_sets(plan, phase), key=lambda trains: sum(sizes[label] for label in trains))


def _cached(setup: SavingsSetup, frozen: frozenset[str], uses: float) -> tuple[frozenset[str], list[str]]:
    """Return the layers whose outputs are cached, and a line on each tower with frozen first layers."""
    cached: frozenset[str] = frozenset()
    lines = []
    for name in setup.rows["train"].parts:
        prefix = prefix_of(setup.layer_map, name, frozen)
        if not prefix.labels:
            continue
        reason = reason_not_cached(setup.layer_map, prefix, setup.rows, setup.cache, uses)
        start = f"{name}: {prefix.in_words} frozen, "
        if reason is not None:
            lines.append(f"{start}not cached: {reason}")
            continue
        needed = _cache_bytes(setup.towers[name], prefix, setup.rows, setup.layer_map, setup.costs)
        on_disk = setup.cache.mode == "disk" or (needed or 0) > setup.cache.budget.left
        lines.append(f"{start}run once a row; about {size(needed)} {'on disk' if on_disk else 'in memory'}")
        cached |= frozenset(prefix.labels)
    return cached, lines


def _cache_bytes(
    tower: Tower, prefix: Prefix, rows: Mapping[str, Rows], layer_map: LayerMap, costs: Costs | None
) -> float | None:
    """Return about how many bytes the outputs of a prefix take for all rows."""
    counts = {split: len(each) * TowerRows(each, prefix.tower, whole=True).variants for split, each in rows.items()}
    if prefix.whole:
        return 4.0 * tower.width * sum(counts.values())
    if costs is None:
        return None
    inner_towers = dict.fromkeys(layer_map[label].tower for label in prefix.labels)
    last = [
        max((label for label in prefix.labels if layer_map[label].tower == inner), key=lambda one: layer_map[one].depth)
        for inner in inner_towers
    ]
    row_bytes = sum(costs[label].output_bytes for label in last)
    return sum(
        count * row_bytes * _share_without_padding(rows[split], prefix.tower, costs.rows)
        for split, count in counts.items()
    )


def _share_without_padding(rows: Rows, tower: str, batch_rows: int) -> float:
    """Return the share of tokens that are no padding; costs are of a batch padded to its longest row."""
    part = rows.parts[tower]
    if part.lengths is None or part.widths is None or not len(part):
        return 1.0
    return float(part.lengths.sum()) / (len(part) * float(part.widths[:batch_rows].max()))
