"""How a LayerPlan looks: folded text, HTML with a bar per rate, and a plot over the run."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from thermocline.tuning.patterns import fold_name, folds
from thermocline.tuning.show import STYLE, count, html_warnings, table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

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
    out: list[tuple[str, list[PlanLayer]]] = []
    layers, start = plan.layers, 0
    while start < len(layers):
        stop = start
        while stop < len(layers) and _kind(layers[stop]) == _kind(layers[start]):
            stop += 1
        names = [layer.name for layer in layers[start:stop]]
        for group in folds(names):
            run = [layers[start + i] for i in group]
            out.append((fold_name([layer.name for layer in run]) or run[0].name, run))
        start = stop
    return out


def _kind(layer: PlanLayer) -> tuple[object, ...]:
    return (layer.tower, layer.role, layer.frozen, layer.weight_decay, layer.pretrained)


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
    return "; ".join(
        f"phase {phase.name}: to {phase.until:.0%}, {phase.schedule}, warm-up {phase.warmup:.0%}"
        for phase in plan.phases
    )


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
    head = "".join(f"<th>{escape(cell)}</th>" for cell in [*_HEADER, ""])
    body = []
    for row, (_, run) in zip(_rows(plan), folded(plan), strict=True):
        scales = [0.0 if layer.frozen else layer.lr_scale for layer in run]
        width = 8.0 * sum(scales) / len(scales) / top
        cells = "".join(f"<td{' class=n' if i in _RIGHT else ''}>{escape(c)}</td>" for i, c in enumerate(row))
        body.append(f"<tr>{cells}<td><span class=bar style='width:{width:.2f}em'></span></td></tr>")
    return (
        f"{STYLE}<div class=tcl>{html_warnings(plan.warnings)}<div>{escape(headline(plan))}</div>"
        f"<div>{escape(_phases(plan))}</div>"
        f"<table class=tcl><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table></div>"
    )


def plot(plan: LayerPlan, ax: Axes | None = None, *, steps: int = 200) -> Axes:
    """Draw the rate of every layer over the whole run.

    Args:
        plan: The plan.
        ax: Where to draw; a new figure by default.
        steps: How finely.
    """
    if ax is None:
        from matplotlib.figure import Figure

        ax = Figure(figsize=(7, 4), layout="constrained").add_subplot()
    from matplotlib import colormaps

    colors = colormaps["viridis"]
    share = [step / steps for step in range(steps)]
    cursors = [plan.cursor(step, steps) for step in range(steps)]
    shown = [layer for layer in plan.layers if not layer.frozen]
    for index, layer in enumerate(shown):
        rates = [plan.lr_at(layer.label, cursor) for cursor in cursors]
        label = layer.label if len(shown) <= 12 or index in (0, len(shown) - 1) else None
        ax.plot(share, rates, color=colors(index / max(len(shown) - 1, 1)), label=label, linewidth=1.2)
    ax.set_xlabel("share of the run")
    ax.set_ylabel("learning rate")
    ax.set_title(headline(plan), fontsize="medium")
    if shown:
        ax.legend(fontsize="x-small", frameon=False)
    return ax
