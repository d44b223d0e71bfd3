"""How a LayerMap looks: folded text, HTML, and the parameter tree of an error message."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from typing import TYPE_CHECKING, Protocol, TypeVar

from thermocline.tuning.layers.patterns import fold_name, folds

if TYPE_CHECKING:
    from thermocline.tuning.layers.layer_map import Layer, LayerMap


class HasName(Protocol):
    """A layer, or a plan's entry for one."""

    @property
    def name(self) -> str:
        """The layer's name within its tower."""

    @property
    def tower(self) -> str:
        """The tower it stands in."""

    @property
    def role(self) -> str:
        """What it is in the tower."""

    @property
    def part(self) -> str:
        """The part of a detector that it is of; empty elsewhere."""


Named = TypeVar("Named", bound=HasName)

STYLE = (
    "<style>.tcl{border-collapse:collapse;font:13px/1.4 system-ui,sans-serif;color:inherit}"
    "div.tcl{margin:4px 0 14px}"
    ".tcl th,.tcl td{padding:2px 12px 2px 0;text-align:left;border-bottom:1px solid #8884;background:none}"
    ".tcl .n{text-align:right;font-variant-numeric:tabular-nums}.tcl .w{font-weight:600}.tcl .f{opacity:.55}"
    ".tcl .bar{display:inline-block;height:.8em;background:#2a8fbd;vertical-align:baseline}</style>"
)


def role_of(layer: HasName) -> str:
    """Return the role as tables show it: with the part of a detector where that says more."""
    part = layer.part
    return layer.role if part in ("", layer.role) else part if layer.role == "block" else f"{part} {layer.role}"


def count(number: int) -> str:
    """Return a number of weights as `22.7M`, `590k`, `12`."""
    for size, unit in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if number >= size:
            return f"{number / size:.3g}{unit}"
    return str(number)


def table(rows: Sequence[Sequence[str]], header: Sequence[str], right: Sequence[int] = ()) -> str:
    """Return rows as aligned text; columns whose index is in `right` are flushed right."""
    lines = [list(header), *[list(row) for row in rows]]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    return "\n".join(
        "  ".join(
            c.rjust(w) if i in right else c.ljust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def folded_layers(layers: Sequence[Layer]) -> list[tuple[str, list[Layer]]]:
    """Return runs of like layers, each with its folded name."""
    return folded_runs(layers, lambda layer: (layer.tower, role_of(layer), layer.pretrained, layer.resting))


def _adapters_behind(layers: Sequence[Named]) -> list[Named]:
    """The layers with a tower's adapters after all their hosts: either kind then folds."""
    towers = list(dict.fromkeys(layer.tower for layer in layers))
    late = {"adapter": 1, "head": 2}
    if not any(layer.role == "adapter" for layer in layers):
        return list(layers)
    return sorted(layers, key=lambda layer: (towers.index(layer.tower), late.get(layer.role, 0)))


def folded_runs(layers: Sequence[Named], kind: Callable[[Named], object]) -> list[tuple[str, list[Named]]]:
    """Return runs of neighbours of one kind, cut where their names do not fold, each with its folded name."""
    out: list[tuple[str, list[Named]]] = []
    layers = _adapters_behind(layers)
    start = 0
    while start < len(layers):
        stop = start
        while stop < len(layers) and kind(layers[stop]) == kind(layers[start]):
            stop += 1
        names = [layer.name for layer in layers[start:stop]]
        for group in folds(names):
            name = fold_name([names[i] for i in group]) or names[group[0]]
            out.append((name, [layers[start + i] for i in group]))
        start = stop
    return out


def _rows(layers: Sequence[Layer]) -> list[list[str]]:
    rows = []
    for name, run in folded_layers(layers):
        first, last = run[0], run[-1]
        depth = str(first.depth) if len(run) == 1 else f"{first.depth}-{last.depth}"
        weights = "pretrained" if first.pretrained else "new"
        total = count(sum(layer.n_parameters for layer in run))
        weights += ", built frozen" if first.resting else ""
        rows.append([first.tower, name, role_of(first), depth, total, weights, first.source])
    return rows


_HEADER = ["tower", "layer", "role", "depth", "weights", "state", "found by"]


def _headline(layer_map: LayerMap) -> str:
    total = count(sum(layer.n_parameters for layer in layer_map.layers))
    towers = len(layer_map.towers)
    line = f"LayerMap: {len(layer_map.layers)} layers, {towers} tower{'s' * (towers != 1)}, {total} weights"
    how = {"forward pass": ", in the order of a forward pass", "definition": ", in the order of definition"}
    line += how.get(layer_map.order, "")
    return line + (f", {len(layer_map.aliases)} tied" if layer_map.aliases else "")


def map_text(layer_map: LayerMap) -> str:
    """Return the map as a text table, warnings first."""
    warnings = [f"! {text}" for text in layer_map.warnings]
    notes = list(layer_map.notes)
    return "\n".join([*warnings, _headline(layer_map), *notes, table(_rows(layer_map.layers), _HEADER, right=(3, 4))])


def map_html(layer_map: LayerMap) -> str:
    """Return the map as an HTML table, warnings first."""
    head = "".join(f"<th{' class=n' if i in (3, 4) else ''}>{escape(cell)}</th>" for i, cell in enumerate(_HEADER))
    body = "".join(
        "<tr>"
        + "".join(f"<td{' class=n' if i in (3, 4) else ''}>{escape(c)}</td>" for i, c in enumerate(row))
        + "</tr>"
        for row in _rows(layer_map.layers)
    )
    return (
        f"{STYLE}<div class=tcl>{html_warnings(layer_map.warnings)}<div>{escape(_headline(layer_map))}</div>"
        f"{''.join(f'<div>{escape(text)}</div>' for text in layer_map.notes)}"
        f"<table class=tcl><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def html_warnings(warnings: Sequence[str]) -> str:
    """Return warnings as the first lines of an HTML block."""
    return "".join(f"<div class=w>⚠ {escape(text)}</div>" for text in warnings)


def parameter_tree(layers: Sequence[Layer], *, limit: int = 40, level: int = 4) -> str:
    """Return modules with their sizes as an indented tree, cut after `limit` lines and `level` levels."""
    sizes: dict[str, int] = {}
    for layer in layers:
        for name in layer.parameters:
            parts = name.split(".")[:-1] or [name]
            for end in range(1, min(len(parts), level) + 1):
                sizes[".".join(parts[:end])] = sizes.get(".".join(parts[:end]), 0) + 1
    lines = [
        f"  {'  ' * name.count('.')}{name.rpartition('.')[2]}  ({number} parameter{'s' * (number != 1)})"
        for name, number in sizes.items()
    ]
    more = [f"  … and {len(lines) - limit} more"] if len(lines) > limit else []
    return "\n".join(lines[:limit] + more)


def folded_labels(layers: Sequence[Layer], *, limit: int = 30) -> str:
    """Return layer labels on one line each, runs folded, for an error message."""
    lines = [f"  {run[0].tower}/{name}  ({role_of(run[0])})" for name, run in folded_layers(layers)]
    more = [f"  … and {len(lines) - limit} more"] if len(lines) > limit else []
    return "\n".join(lines[:limit] + more)
