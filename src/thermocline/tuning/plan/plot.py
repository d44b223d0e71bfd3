"""A plan's rates drawn over the whole run, before it starts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from thermocline.tuning.plan import ribbon
from thermocline.tuning.plan.decisions import Decisions
from thermocline.tuning.plan.plan_layer import PlanLayer
from thermocline.tuning.plan.show import folded, headline

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_POINTS = 400
_MOST_NAMED = 14  # lines that a legend can name
_LOG_RATIO = 30.0  # of the highest rate to the lowest, from which the axis is logarithmic


def plot(plan: Decisions, ax: Axes | None = None) -> Axes:
    """Draw the rate of every layer over the whole run; layers that share a rate share a line.

    A line ends where its layers are frozen. Thin vertical lines mark where phases begin. A plateau is drawn at its
    latest possible step.

    Args:
        plan: The plan.
        ax: Where to draw; a new figure by default.
    """
    if ax is None:
        from thermocline.report import plotting

        ax = plotting.pyplot().subplots(figsize=(9, 4.2), layout="constrained")[1]
    from matplotlib import colormaps

    cursors = ribbon.moments(plan, _POINTS)
    total, per_epoch = ribbon.run_length(plan)
    unit = 100 / total if not plan.total_steps else 1 / per_epoch
    places = [cursor.step * unit for cursor in cursors]
    never = set(plan.frozen)
    lines: dict[tuple[float, ...], list[PlanLayer]] = {}
    for layer in plan.layers:
        if layer.label not in never and layer.n_parameters:
            lines.setdefault(tuple(plan.lr_at(layer.label, cursor) for cursor in cursors), []).append(layer)
    ordered = sorted(lines.items(), key=lambda line: (max(line[0]), sum(line[0])))
    for index, (rates, layers) in enumerate(ordered):
        color = colormaps["viridis"](0.9 * index / max(len(ordered) - 1, 1))
        named = len(ordered) <= _MOST_NAMED or index in (0, len(ordered) - 1)
        drawn = [rate if rate > 0 else math.nan for rate in rates]
        ax.plot(places, drawn, color=color, label=_names(plan, layers) if named else None, linewidth=1.6)
    frozen = [layer for layer in plan.layers if layer.label in never and layer.n_parameters]
    if frozen:
        ax.plot([], [], color="#888888", linestyle="--", linewidth=1, label=f"frozen: {_names(plan, frozen)}")
    ax.set_xlabel("epoch" if plan.total_steps else "% of the run")
    _scale(ax, [max(rates) for rates, _ in ordered])
    _edges(plan, ax, unit)
    ax.set_title(headline(plan), fontsize="medium", loc="left", pad=24 if len(plan.phases) > 1 else None)
    _legend(ax, frozen=bool(frozen))
    return ax


def _scale(ax: Axes, peaks: Sequence[float]) -> None:
    ax.set_ylabel("learning rate")
    if not peaks:
        return
    low, high = min(peaks), max(peaks)
    if low > 0 and high / low > _LOG_RATIO:
        ax.set_yscale("log")
        ax.set_ylim(low / 30, high * 1.5)
    else:
        ax.set_ylim(0, high * 1.06)
        ax.yaxis.set_major_formatter(lambda rate, _: f"{rate:g}")  # a common power of ten would overlap a name
    ax.margins(x=0.01)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)


def _edges(plan: Decisions, ax: Axes, unit: float) -> None:
    """Draw a thin line where each phase begins, with its name (or number) above it."""
    if len(plan.phases) < 2:
        return
    starts = {cursor.phase: cursor.phase_start * unit for cursor in ribbon.moments(plan, 4 * _POINTS)}
    last = ribbon.run_length(plan)[0] * unit
    named = len(starts) <= 6
    for phase, start in starts.items():
        if phase:
            ax.axvline(start, color="#888888", linewidth=0.7, alpha=0.7)
        following = [other for other in starts.values() if other > start]
        width = (min(following, default=last) - start) / last
        name = plan.phases[phase].name if named else str(phase + 1)
        if width > 0.012 * len(name):
            ax.text(start, 1.01, f" {name}", transform=ax.get_xaxis_transform(), fontsize="small", color="#666666")


def _legend(ax: Axes, *, frozen: bool) -> None:
    """Show the legend: the highest line first, the frozen layers last."""
    handles, labels = ax.get_legend_handles_labels()
    cut = len(handles) - frozen
    ax.legend(
        handles[:cut][::-1] + handles[cut:],
        labels[:cut][::-1] + labels[cut:],
        fontsize="small",
        frameon=False,
        loc="upper left",
        bbox_to_anchor=(1.0, 1.0),
    )


def _names(plan: Decisions, layers: Sequence[PlanLayer]) -> str:
    """The names of layers for a legend, with their tower: runs folded, one per line."""
    chosen = {layer.label for layer in layers}
    runs = folded([layer for layer in plan.layers if layer.label in chosen])
    names = [f"{run[0].tower}/{name}" for name, run in runs]
    return "\n".join(names if len(names) <= 6 else [*names[:3], f"… {len(names) - 4} more", names[-1]])
