"""How a LayerPlan looks: folded text, HTML with a bar per rate, and a plot over the run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from html import escape
from typing import TYPE_CHECKING

from thermocline.tuning.show import STYLE, count, folded_runs, html_warnings, table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from thermocline.tuning.phases import Phase
    from thermocline.tuning.plan import LayerPlan, PlanLayer

_HEADER = ["tower", "layer", "role", "lr", "× lr", "weight decay", "weights", "state"]
_RIGHT = (3, 4, 5, 6)


def headline(plan: LayerPlan) -> str:
    """Return lr_choice, base rate, trainable and total weights in one line."""
    total = sum(layer.n_parameters for layer in plan.layers)
    trained = sum(layer.n_parameters for layer in plan.layers if not layer.frozen)
    share = 100 * trained / total if total else 0.0
    weights = f"{count(trained)} of {count(total)} weights train ({share:.3g} %)"
    return f"{plan.lr_choice}, base lr {plan.lr:g}, {weights}"


def folded(plan: LayerPlan) -> list[tuple[str, list[PlanLayer]]]:
    """Return runs of layers that are decided alike, each with its folded name."""
    return folded_runs(plan.layers, lambda x: (x.tower, x.role, x.frozen, x.weight_decay, x.pretrained))


def _range(low: float, high: float) -> str:
    first, last = f"{low:.3g}", f"{high:.3g}"
    return first if first == last else f"{first} … {last}"


def _rows(plan: LayerPlan) -> list[list[str]]:
    rows = []
    for name, run in folded(plan):
        first, last = run[0], run[-1]
        state = "frozen" if first.frozen else "pretrained" if first.pretrained else "new"
        rate = "–" if first.frozen else _range(plan.lr * first.lr_scale, plan.lr * last.lr_scale)
        scale = "–" if first.frozen else _range(first.lr_scale, last.lr_scale)
        decay = "–" if first.frozen else f"{first.weight_decay:g}"
        weights = count(sum(layer.n_parameters for layer in run))
        rows.append([first.tower, name, first.role, rate, scale, decay, weights, state])
    return rows


def _phases(plan: LayerPlan) -> str:
    if len(plan.phases) == 1:
        return f"one phase: {_schedule(plan.phases[0])}"
    return "; ".join(f"phase {phase.name} (to {phase.until:.0%}): {_schedule(phase)}" for phase in plan.phases)


def _schedule(phase: Phase) -> str:
    warmup = f"warm-up over the first {phase.warmup:.0%} of its steps, then " if phase.warmup else ""
    return f"{warmup}{phase.schedule}"


def text(plan: LayerPlan) -> str:
    """Return the plan as a text table: warnings, then a headline, then runs of layers."""
    lead = f"{plan.warnings[0]} | " if _loud(plan) else ""
    warnings = [f"! {one}" for one in plan.warnings[1 if _loud(plan) else 0 :]]
    return "\n".join([lead + headline(plan), *warnings, _phases(plan), table(_rows(plan), _HEADER, right=_RIGHT)])


def _loud(plan: LayerPlan) -> bool:
    """Whether the first warning must stand in the first line: the layers were not found."""
    return bool(plan.warnings) and plan.warnings[0].isupper()


def html(plan: LayerPlan) -> str:
    """Return the plan as an HTML table with a bar for each rate, legible on light and dark."""
    top = max((layer.lr_scale for layer in plan.layers if not layer.frozen), default=1.0) or 1.0
    head = "".join(f"<th{' class=n' if i in _RIGHT else ''}>{escape(cell)}</th>" for i, cell in enumerate(_HEADER))
    body = []
    for row, (_, run) in zip(_rows(plan), folded(plan), strict=True):
        cells = "".join(f"<td{' class=n' if i in _RIGHT else ''}>{escape(c)}</td>" for i, c in enumerate(row))
        dim = " class=f" if run[0].frozen else ""
        body.append(f"<tr{dim}>{cells}<td>{_bar(run, top)}</td></tr>")
    return (
        f"{STYLE}<div class=tcl>{html_warnings(plan.warnings)}<div>{escape(headline(plan))}</div>"
        f"<div>{escape(_phases(plan))}</div>"
        f"<table class=tcl><thead><tr>{head}<th></th></tr></thead><tbody>{''.join(body)}</tbody></table></div>"
    )


def _bar(run: Sequence[PlanLayer], top: float) -> str:
    """A bar as long as the rate; its end slants from the rate of a run's first layer to that of its last."""
    if run[0].frozen:
        return ""
    first, last = (100 * layer.lr_scale / top for layer in (run[0], run[-1]))
    shape = f"polygon(0 0,{first:.1f}% 0,{last:.1f}% 100%,0 100%)"
    return f"<span class=bar style='width:8em;clip-path:{shape}'></span>"


def plot(plan: LayerPlan, ax: Axes | None = None, *, steps: int = 200) -> Axes:
    """Draw the rate of every layer over the whole run; layers that share a rate share a line.

    Args:
        plan: The plan.
        ax: Where to draw; a new figure by default.
        steps: How finely.
    """
    if ax is None:
        from matplotlib import pyplot

        ax = pyplot.subplots(figsize=(8, 4), layout="constrained")[1]
    from matplotlib import colormaps

    cursors = [plan.cursor(step, steps) for step in range(steps)]
    lines: dict[tuple[float, ...], list[PlanLayer]] = {}
    for layer in plan.layers:
        if not layer.frozen:
            lines.setdefault(tuple(plan.lr_at(layer.label, cursor) for cursor in cursors), []).append(layer)
    ordered = sorted(lines.items(), key=lambda line: max(line[0]))
    few = len(ordered) <= 14
    for index, (rates, layers) in enumerate(ordered):
        color = colormaps["viridis"](0.9 * index / max(len(ordered) - 1, 1))
        label = _names(plan, layers) if few or index in (0, len(ordered) - 1) else None
        ax.plot([100 * step / steps for step in range(steps)], rates, color=color, label=label, linewidth=1.4)
    frozen = [layer for layer in plan.layers if layer.frozen]
    if frozen:
        ax.axhline(0.0, color="#888888", linestyle="--", linewidth=1, label=f"frozen: {_names(plan, frozen)}")
    ax.set_xlabel("% of the run")
    ax.set_ylabel("learning rate")
    ax.ticklabel_format(axis="y", scilimits=(-2, 3))
    ax.set_title(headline(plan), fontsize="medium")
    handles, labels = ax.get_legend_handles_labels()
    cut = len(handles) - bool(frozen)  # the highest line first, as it is drawn, and the frozen layers last
    ax.legend(
        handles[:cut][::-1] + handles[cut:],
        labels[:cut][::-1] + labels[cut:],
        fontsize="small",
        frameon=False,
        loc="upper left",
        bbox_to_anchor=(1.0, 1.0),
    )
    return ax


def _names(plan: LayerPlan, layers: Sequence[PlanLayer]) -> str:
    """Return the names of layers for a legend: runs folded, towers told apart, one per line."""
    chosen = {layer.label for layer in layers}
    runs = folded(replace(plan, layers=tuple(layer for layer in plan.layers if layer.label in chosen)))
    names = [f"{run[0].tower}/{name}" for name, run in runs]
    return "\n".join(names if len(names) <= 6 else [*names[:3], f"… {len(names) - 4} more", names[-1]])
