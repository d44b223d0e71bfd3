"""How an Estimate looks: a text table, and HTML with a bar per cost."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from thermocline.tuning.tables import STYLE, count, table

if TYPE_CHECKING:
    from thermocline.efficiency.costs.estimate import Estimate, PhaseEstimate

_UNKNOWN = "not known"
_HEADER = ["phase", "steps", "trains", "forward", "backward from", "activations", "gradients", "optimizer", "cost"]
_RIGHT = (1, 2, 3, 5, 6, 7, 8, 9)


def size(number: float | None) -> str:
    """Return bytes as `1.53 GB`, `820 MB`, `12 kB`."""
    if number is None:
        return _UNKNOWN
    for unit, one in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number >= one:
            return f"{number / one:.3g} {unit}"
    return f"{number:.0f} B"


def cost(number: float | None) -> str:
    """Return a relative cost with two decimals."""
    return _UNKNOWN if number is None else f"{number:.2f}"


def has_cache(estimate: Estimate) -> bool:
    """Whether any layer's forward pass is skipped in any phase."""
    return any(len(phase.forward) < estimate.n_layers for phase in estimate.phases)


def headline(estimate: Estimate) -> str:
    """Return the cost of the run and the most memory in one line."""
    known = [one.memory_bytes for one in estimate.phases if one.memory_bytes is not None and one.steps != 0]
    parts = [f"Estimate: {estimate.rows} rows a step"]
    if estimate.cost is not None:
        parts.append(f"the run costs {cost(estimate.cost)} of full tuning")
        if has_cache(estimate):
            parts[-1] += f" ({cost(estimate.cost_uncached)} without the cache)"
    elif estimate.phases[0].cost is None:
        parts.append("cost not known: the model does not run on shapes alone")
    if known and estimate.full_bytes is not None:
        parts.append(f"at most {size(max(known))} beside the weights (full tuning: {size(estimate.full_bytes)})")
    return ", ".join(parts)


def _begins(phase: PhaseEstimate, limit: int = 3) -> str:
    more = f" and {len(phase.begins) - limit} more" if len(phase.begins) > limit else ""
    return ", ".join(phase.begins[:limit]) + more


def _row(estimate: Estimate, phase: PhaseEstimate, *, cached: bool) -> list[str]:
    own = [
        phase.name or "–",
        "–" if phase.steps is None else str(phase.steps),
        count(phase.trainable),
        f"{len(phase.forward)} of {estimate.n_layers}",
        _begins(phase),
        size(phase.activation_bytes),
        size(phase.gradient_bytes),
        size(phase.optimizer_bytes),
        cost(phase.cost),
    ]
    return [*own, cost(phase.cost_uncached)] if cached else own


def _cells(estimate: Estimate) -> tuple[list[str], list[list[str]]]:
    cached = has_cache(estimate)
    header = [*_HEADER, "uncached"] if cached else list(_HEADER)
    return header, [_row(estimate, phase, cached=cached) for phase in estimate.phases]


def text(estimate: Estimate) -> str:
    """Return the estimate as a text table under a headline."""
    header, rows = _cells(estimate)
    return "\n".join([headline(estimate), table(rows, header, right=_RIGHT)])


def html(estimate: Estimate) -> str:
    """Return the estimate as an HTML table with a bar for each cost, legible on light and dark."""
    header, rows = _cells(estimate)
    top = max([1.0, *(phase.cost_uncached or 0.0 for phase in estimate.phases)])
    body = "".join(
        f"<tr>{html_cells(row, 'td')}<td>{_bar(phase, top)}</td></tr>"
        for row, phase in zip(rows, estimate.phases, strict=True)
    )
    return (
        f"{STYLE}<div class=tcl><div>{escape(headline(estimate))}</div><table class=tcl>"
        f"<thead><tr>{html_cells(header, 'th')}<th></th></tr></thead><tbody>{body}</tbody></table></div>"
    )


def html_cells(cells: Sequence[str], tag: str) -> str:
    """Return the cells of a row; all but the first few are numbers."""
    return "".join(f"<{tag}{' class=n' if i in _RIGHT else ''}>{escape(c)}</{tag}>" for i, c in enumerate(cells))


def _bar(phase: PhaseEstimate, top: float) -> str:
    """The cost as a bar; what the cache spares goes on in a fainter one. The frame is full tuning."""
    if phase.cost is None or phase.cost_uncached is None:
        return ""
    solid, faint = 8 * phase.cost / top, 8 * max(phase.cost_uncached - phase.cost, 0.0) / top
    return (
        f"<span style='display:inline-block;width:8em;white-space:nowrap;border-right:1px solid #8888'>"
        f"<span class=bar style='width:{solid:.2f}em'></span>"
        f"<span class=bar style='width:{faint:.2f}em;opacity:.3'></span></span>"
    )
