"""How a LayerPlan looks: folded text, HTML with a bar per rate, and a frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from thermocline.report.screen import paragraph
from thermocline.report.svg import bar
from thermocline.report.tables import count, html_block, html_lines, html_table, html_warnings, table
from thermocline.tuning.layers.folding import folded_runs, role_of
from thermocline.tuning.plan import ribbon, ribbon_picture
from thermocline.tuning.plan.decisions import Decisions
from thermocline.tuning.plan.hints import hints
from thermocline.tuning.plan.parameter_rules import matched
from thermocline.tuning.plan.plan_layer import PlanLayer

if TYPE_CHECKING:
    import pandas as pd

_HEADER = ["tower", "layer", "role", "lr", "× lr", "weight decay", "weights", "state"]
_RIGHT = (3, 4, 5, 6)
_SPARE = (2, 5)  # columns that a narrow screen can do without
_RULE_HEADER = ["parameters", "of layers", "tensors", "lr", "× layer's lr", "weight decay"]
_RULE_RIGHT = (2, 3, 4, 5)


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


def _runs(plan: Decisions) -> list[tuple[str, list[PlanLayer]]]:
    """The runs of the table; layers that are frozen throughout, and why, are in runs of their own."""
    state = states(plan)
    return folded_runs(plan.layers, lambda x: (x.tower, role_of(x), state[x.label], x.weight_decay))


def states(plan: Decisions) -> dict[str, str]:
    """Return per layer `pretrained`, `new`, or `frozen`, which says so where a rate of 0 is what freezes it."""
    never, phases = set(plan.frozen), plan.timeline.layers
    out = {}
    for layer in plan.layers:
        zero = not layer.frozen and any(own.scales[layer.label] == 0 for own in phases)
        trained = "pretrained" if layer.pretrained else "new"
        out[layer.label] = trained if layer.label not in never else "frozen (lr 0)" if zero else "frozen"
    return out


def _range(low: float, high: float) -> str:
    first, last = f"{low:.3g}", f"{high:.3g}"
    return first if first == last else f"{first} … {last}"


def _rows(plan: Decisions) -> list[list[str]]:
    rows = []
    scale, state = plan.peaks, states(plan)
    for name, run in _runs(plan):
        first = run[0]
        low, high = scale[first.label], scale[run[-1].label]
        weights = count(sum(layer.n_parameters for layer in run))
        if first.label in plan.frozen:
            rows.append([first.tower, name, role_of(first), "–", "–", "–", weights, state[first.label]])
        else:
            rates = [_range(plan.lr * low, plan.lr * high), _range(low, high)]
            own = f"{first.weight_decay:g}"
            rows.append([first.tower, name, role_of(first), *rates, own, weights, state[first.label]])
    return rows


def _rule_rows(plan: Decisions) -> list[list[str]]:
    """A row for each parameter rule: what it is about, the rates of these parameters, and their weight decay."""
    rows = []
    of = {name: layer.label for layer in plan.layers for name in layer.parameters}
    for rule in plan.parameter_rules:
        names = matched(rule, plan.layer_map)
        scale = 1.0 if rule.lr_scale is None else rule.lr_scale
        rates = [plan.lr * plan.peaks[of[name]] * scale for name in names if of[name] not in plan.frozen]
        rows.append(
            [
                ", ".join(rule.parameters),
                "all" if rule.layers is None else ", ".join(map(str, rule.selectors)),
                count(len(names)),
                _range(min(rates), max(rates)) if rates else "–",
                f"{scale:g}",
                "–" if rule.weight_decay is None else f"{rule.weight_decay:g}",
            ]
        )
    return rows


def text(plan: Decisions) -> str:
    """Return the plan as a text table: warnings, then a headline, then runs of layers."""
    lead = f"{plan.warnings[0]} | " if _warning_leads(plan) else ""
    warnings = [f"! {one}" for one in plan.warnings[1 if _warning_leads(plan) else 0 :]]
    hinted = [f"! {one}" for one in hints(plan)]
    when = ribbon.text(plan) if ribbon.has_ribbon(plan) else paragraph(f"one phase: {_course(plan)}")
    rules = [table(_rule_rows(plan), _RULE_HEADER, right=_RULE_RIGHT)] if plan.parameter_rules else []
    made = table(_rows(plan), _HEADER, right=_RIGHT, spare=_SPARE)
    cost = [] if plan.estimate is None else [str(plan.estimate)]
    lines = map(paragraph, [lead + headline(plan), *warnings, *hinted])
    return "\n".join([*lines, when, made, *rules, *cost])


def _course(plan: Decisions) -> str:
    return ribbon.course(plan.phases[0])


def _warning_leads(plan: Decisions) -> bool:
    """Whether the first warning belongs in the first line: the layers were not found."""
    return bool(plan.warnings) and plan.warnings[0].isupper()


def html(plan: Decisions) -> str:
    """Return the plan as an HTML table with a bar for each rate, legible on light and dark, and without any style."""
    shares = [_shares(plan, run) for _, run in _runs(plan)]
    table_of_layers = html_table(
        _rows(plan),
        _HEADER,
        _RIGHT,
        pictures=[bar(*each) if any(each) else "" for each in shares],
        faint=[place for place, each in enumerate(shares) if not any(each)],
    )
    when = ribbon_picture.html(plan) if ribbon.has_ribbon(plan) else html_lines([f"one phase: {_course(plan)}"])
    rules = html_table(_rule_rows(plan), _RULE_HEADER, _RULE_RIGHT) if plan.parameter_rules else ""
    lead = html_warnings((*plan.warnings, *hints(plan)))
    cost = "" if plan.estimate is None else plan.estimate._repr_html_()
    return html_block(lead, html_lines([headline(plan)], strong=True), when, table_of_layers, rules) + cost


def _shares(plan: Decisions, run: Sequence[PlanLayer]) -> tuple[float, float]:
    """The rates of a run's first and last layer, as shares of the highest rate."""
    scale = plan.peaks
    top = max(scale.values(), default=0.0) or 1.0
    return scale[run[0].label] / top, scale[run[-1].label] / top


def frame(plan: Decisions) -> pd.DataFrame:
    """Return one row per layer, with the rate that it reaches at its highest."""
    import pandas as pd

    scale = plan.peaks
    frozen = set(plan.frozen)
    rows = [{**asdict(one), "lr": plan.lr * scale[one.label], "frozen": one.label in frozen} for one in plan.layers]
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
