"""What a run is going to save, and what a step of it costs, before anything has run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from torch import nn

from thermocline.data.batches import Rows
from thermocline.data.order import epoch_order
from thermocline.efficiency.costs.estimate import Estimate, estimate, phase_steps, trained_sets
from thermocline.efficiency.costs.estimate_show import size
from thermocline.efficiency.costs.layer_costs import Costs, layer_costs
from thermocline.efficiency.costs.side_by_side import Beside, beside
from thermocline.efficiency.prefix_cache.options import CacheOptions, refusal
from thermocline.efficiency.prefix_cache.prefix import Prefix, prefix_of
from thermocline.efficiency.prefix_cache.tower_rows import TowerRows
from thermocline.efficiency.savings import Savings
from thermocline.tuning.layers.layer_map import LayerMap
from thermocline.tuning.plan.layer_plan import LayerPlan
from thermocline.tuning.schedule.cursor import Cursor
from thermocline.tuning.schedule.timeline import planned_end

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Forecast:
    """What a run saves and costs.

    Attributes:
        estimate: Memory and the relative cost of a step, by phase.
        saved: Per phase: what is cached, joined and computed again, or why it is not; a line each.
        beside: Of a detector: the plan with the backbone frozen and not.
    """

    estimate: Estimate
    saved: tuple[tuple[str, ...], ...]
    beside: Beside | None = None

    def to_frame(self) -> pd.DataFrame:
        """Return one row per phase."""
        frame = self.estimate.to_frame()
        frame["saved"] = ["; ".join(lines) for lines in self.saved]
        return frame

    @property
    def _lines(self) -> list[str]:
        several = len(self.estimate.phases) > 1
        return [
            f"{phase.name}: {line}" if several else line
            for phase, lines in zip(self.estimate.phases, self.saved, strict=True)
            for line in lines
        ]

    def __str__(self) -> str:
        sides = [] if self.beside is None else [str(self.beside)]
        return "\n".join([str(self.estimate), *self._lines, *sides])

    def _repr_html_(self) -> str:
        lines = "".join(f"<div>{escape(line)}</div>" for line in self._lines)
        sides = "" if self.beside is None else self.beside._repr_html_()
        return f"{self.estimate._repr_html_()}<div class=tcl>{lines}</div>{sides}"


def costs_of(model: nn.Module, layer_map: LayerMap, rows: Rows, usual: int) -> Costs | None:
    """Return what the layers cost on a batch of these rows, or `None` where that is not known."""
    batch = rows.unlabelled().batch(epoch_order(len(rows), usual, seed=0, epoch=0, lengths=None)[0], None)
    device = next(model.parameters()).device.type
    return layer_costs(model, layer_map, lambda shadow: shadow(batch), len(batch["rows"]), device=device)


def passes(plan: LayerPlan, cursor: Cursor, *, probed: bool) -> float:
    """Return how often the training rows go through the model while the layers that train now do, at most.

    It is a function of the stretch and not of the moment: a run that goes on within it decides as it did before.

    Args:
        plan: The plan.
        cursor: Of a moment of the stretch.
        probed: Whether a probe runs before the first step.
    """
    phase = plan.phases[cursor.phase]
    start = plan.timeline.stretch(cursor).start
    end = planned_end(phase, cursor.phase_start, cursor.total_steps, cursor.steps_per_epoch)
    if phase.draw is not None:
        end = min(end, start + phase.draw.every)
    return (end - start) / max(cursor.steps_per_epoch, 1) + (probed and start == 0)


def forecast(
    plan: LayerPlan,
    savings: Savings,
    costs: Costs | None,
    rows: Mapping[str, Rows],
    options: CacheOptions,
    *,
    optimizer: str,
    probed: bool,
    averaged: bool,
) -> Forecast:
    """Forecast a run.

    Args:
        plan: What trains when.
        savings: What is joined and computed again.
        costs: Of the layers.
        rows: `train` and `valid`.
        options: How prefixes are cached.
        optimizer: `adamw` or `sgd`.
        probed: Whether a probe runs before the first step.
        averaged: Whether there is a moving average of the weights: then only what always rests is kept.
    """
    layer_map, steps = savings.layer_map, phase_steps(plan)
    cached: list[frozenset[str]] = []
    saved: list[tuple[str, ...]] = []
    start = 0
    for number in range(len(plan.phases)):
        cursor = Cursor(start, plan.total_steps or 0, number, start, plan.steps_per_epoch or 0)
        uses = passes(plan, cursor, probed=probed) if steps else 0.0
        start += steps[number] if steps else 0
        trains = plan.timeline.ever if averaged else trained_sets(plan, number)[0]
        frozen = frozenset(plan.labels) - trains
        labels, lines = _kept(savings, frozen, rows, options, costs, uses)
        cached.append(labels)
        saved.append((*lines, *savings.standing(frozen)))
    joined = [f"towers.image.backbone.{pair.norm}" for pair in savings.conv_bn.pairs] if savings.conv_bn else []
    again = savings.checkpoints.labels if savings.checkpoints else ()
    expected = estimate(
        plan,
        layer_map,
        costs,
        rows=options.usual,
        cached=cached,
        checkpointed=again,
        conv_bn=joined,
        optimizer=optimizer,
    )
    sides = beside(plan, layer_map, costs, rows=options.usual, checkpointed=again, optimizer=optimizer)
    return Forecast(expected, tuple(saved), sides)


def _kept(
    savings: Savings,
    frozen: frozenset[str],
    rows: Mapping[str, Rows],
    options: CacheOptions,
    costs: Costs | None,
    uses: float,
) -> tuple[frozenset[str], list[str]]:
    """Return the layers that a cache passes over, and a line on each tower with frozen first layers."""
    kept: frozenset[str] = frozenset()
    lines, layer_map = [], savings.layer_map
    for name in rows["train"].parts:
        prefix = prefix_of(layer_map, name, frozen)
        if not prefix.labels:
            continue
        reason = refusal(layer_map, prefix, rows, options, uses)
        told = f"{name}: {prefix.told} frozen, "
        if reason is not None:
            lines.append(f"{told}not cached: {reason}")
            continue
        needed = _bytes(savings, prefix, rows, costs)
        where = "on disk" if options.mode == "disk" or (needed or 0) > options.budget.left else "in memory"
        lines.append(f"{told}run once a row; about {size(needed)} {where}")
        kept |= frozenset(prefix.labels)
    return kept, lines


def _bytes(savings: Savings, prefix: Prefix, rows: Mapping[str, Rows], costs: Costs | None) -> float | None:
    """Return about what the outputs of a prefix take for all rows."""
    varied = {split: each * TowerRows(rows[split], prefix.tower, whole=True).views for split, each in _counts(rows)}
    if prefix.whole:
        return 4.0 * savings.widths[prefix.tower] * sum(varied.values())
    if costs is None:
        return None
    layer_map = savings.layer_map
    ends: Sequence[str] = [
        max((one for one in prefix.labels if layer_map[one].tower == tower), key=lambda one: layer_map[one].depth)
        for tower in dict.fromkeys(layer_map[one].tower for one in prefix.labels)
    ]
    each = sum(costs[label].output_bytes for label in ends)
    total = 0.0
    for split, count in varied.items():
        part = rows[split].parts[prefix.tower]
        shorter = 1.0
        if part.lengths is not None and part.widths is not None and len(part):  # costs are of a padded batch
            shorter = float(part.lengths.sum()) / (len(part) * float(part.widths[: costs.rows].max()))
        total += count * each * shorter
    return total


def _counts(rows: Mapping[str, Rows]) -> list[tuple[str, int]]:
    return [(split, len(each)) for split, each in rows.items()]
