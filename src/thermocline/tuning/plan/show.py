"""How a LayerPlan looks: folded text, HTML with a bar per rate, and a frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from html import escape
from typing import TYPE_CHECKING

from thermocline.tuning.layers.folding import folded_runs, role_of
from thermocline.tuning.plan import ribbon
from thermocline.tuning.plan.decisions import Decisions
from thermocline.tuning.plan.hints import hints
from thermocline.tuning.plan.plan_layer import PlanLayer
from thermocline.tuning.tables import STYLE, count, html_cells, html_warnings, table

if TYPE_CHECKING:
    import pandas as pd

_HEADER = ["tower", "layer", "role", "lr", "× lr", "weight decay", "weights", "state"]
_RIGHT = (3, 4, 5, 6)


def headline(plan: Decisions) -> str:
    """Return lr_choice, base rate, trainable and total weights in one line."""
    total = sum(layer.n_parameters for layer in plan.layers)
    never = set(plan.frozen)
    trained = sum(layer.n_parameters for layer in plan.layers if layer.label not in never)
    share = 100 * trained / total if total else 0.0
    weights = f"{count(trained)} of {count(total)} weights train ({share:.3g} %)"
    return f"{plan.lr_choice}, base lr {plan.lr:g}, {weights}"


def folded(layers: Sequence[PlanLayer]) -> list[tuple[str, list[PlanLayer]]]:
    """Return runs of layers that are decided alike, each with its folded name."""
    return folded_runs(layers, lambda x: (x.tower, role_of(x), x.frozen, x.weight_decay, x.pretrained))


def peaks(plan: Decisions) -> dict[str, float]:
    """Return per layer the highest scale that any phase gives it; 0 where it is frozen throughout."""
    phases = plan.timeline.layers
    return {
        label: max((own.scales[label] for own in phases if label in own.always or label in own.pool), default=0.0)
        for label in plan.labels
    }


def _runs(plan: Decisions) -> list[tuple[str, list[PlanLayer]]]:
    """The runs of the table; layers that are frozen throughout, pinned or not, are in runs of their own."""
    never = set(plan.frozen)
    return folded_runs(plan.layers, lambda x: (x.tower, role_of(x), x.label in never, x.weight_decay, x.pretrained))


def _range(low: float, high: float) -> str:
    first, last = f"{low:.3g}", f"{high:.3g}"
    return first if first == last else f"{first} … {last}"


def _rows(plan: Decisions) -> list[list[str]]:
    rows = []
    scale, never = peaks(plan), set(plan.frozen)
    for name, run in _runs(plan):
        first = run[0]
        low, high = scale[first.label], scale[run[-1].label]
        weights = count(sum(layer.n_parameters for layer in run))
        if first.label in never:
            rows.append([first.tower, name, role_of(first), "–", "–", "–", weights, "frozen"])
        else:
            state = "pretrained" if first.pretrained else "new"
            rates = [_range(plan.lr * low, plan.lr * high), _range(low, high)]
            rows.append([first.tower, name, role_of(first), *rates, f"{first.weight_decay:g}", weights, state])
    return rows


def text(plan: Decisions) -> str:
    """Return the plan as a text table: warnings, then a headline, then runs of layers."""
    lead = f"{plan.warnings[0]} | " if _warning_leads(plan) else ""
    warnings = [f"! {one}" for one in plan.warnings[1 if _warning_leads(plan) else 0 :]]
    hinted = [f"! {one}" for one in hints(plan)]
    when = ribbon.text(plan) if ribbon.has_ribbon(plan) else f"one phase: {_course(plan)}"
    rest = [*warnings, *hinted, when, table(_rows(plan), _HEADER, right=_RIGHT)]
    cost = [] if plan.estimate is None else [str(plan.estimate)]
    return "\n".join([lead + headline(plan), *rest, *cost])


def _course(plan: Decisions) -> str:
    return ribbon.course(plan.phases[0])


def _warning_leads(plan: Decisions) -> bool:
    """Whether the first warning belongs in the first line: the layers were not found."""
    return bool(plan.warnings) and plan.warnings[0].isupper()


def html(plan: Decisions) -> str:
    """Return the plan as an HTML table with a bar for each rate, legible on light and dark."""
    scale = peaks(plan)
    top = max(scale.values(), default=1.0) or 1.0
    head = html_cells(_HEADER, _RIGHT, tag="th")
    body = []
    for row, (_, run) in zip(_rows(plan), _runs(plan), strict=True):
        cells = html_cells(row, _RIGHT)
        first, last = (100 * scale[layer.label] / top for layer in (run[0], run[-1]))
        dim = "" if last or first else " class=f"
        body.append(f"<tr{dim}>{cells}<td>{_bar(first, last)}</td></tr>")
    when = ribbon.html(plan) if ribbon.has_ribbon(plan) else f"<div>one phase: {escape(_course(plan))}</div>"
    lead = html_warnings((*plan.warnings, *hints(plan)))
    cost = "" if plan.estimate is None else plan.estimate._repr_html_()
    return (
        f"{STYLE}<div class=tcl>{lead}<div>{escape(headline(plan))}</div>{when}"
        f"<table class=tcl><thead><tr>{head}<th></th></tr></thead><tbody>{''.join(body)}</tbody></table></div>{cost}"
    )


def _bar(first: float, last: float) -> str:
    """A bar as long as the rate (%); its end slants from the rate of a run's first layer to that of its last."""
    if not first and not last:
        return ""
    shape = f"polygon(0 0,{first:.1f}% 0,{last:.1f}% 100%,0 100%)"
    return f"<span class=bar style='width:8em;clip-path:{shape}'></span>"


def frame(plan: Decisions) -> pd.DataFrame:
    """Return one row per layer, with the rate that it reaches at its highest."""
    import pandas as pd

    scale = peaks(plan)
    rows = [{**asdict(one), "lr": plan.lr * scale[one.label]} for one in plan.layers]
    columns = [
        "label",
        "tower",
        "role",
        "depth",
        "lr",
        "lr_scale",
        "weight_decay",
        "frozen",
        "n_parameters",
        "pretrained",
    ]
    return pd.DataFrame(rows, columns=columns)
