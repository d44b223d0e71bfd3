"""How a layer map looks: a table of folded runs, as text and as HTML."""

from __future__ import annotations

from collections.abc import Sequence

from thermocline.errors import counted
from thermocline.report.screen import paragraph
from thermocline.report.tables import count, html_block, html_lines, html_table, html_warnings, table
from thermocline.tuning.layers.folding import role_of
from thermocline.tuning.layers.layer import Layer
from thermocline.tuning.layers.layer_text import folded_layers
from thermocline.tuning.layers.partition import Partition

_HEADER = ["tower", "layer", "role", "depth", "weights", "state", "found by"]
_RIGHT = (3, 4)
_SPARE = (6, 2)  # columns that a narrow screen can do without


def map_text(layer_map: Partition) -> str:
    """Return the map as a text table, warnings first."""
    lines = [*(f"! {text}" for text in layer_map.warnings), _headline(layer_map), *layer_map.notes]
    made = table(_rows(layer_map.layers), _HEADER, right=_RIGHT, spare=_SPARE)
    return "\n".join([*map(paragraph, lines), made])


def map_html(layer_map: Partition) -> str:
    """Return the map as an HTML table, warnings first."""
    lines = html_lines([_headline(layer_map)], strong=True) + html_lines(layer_map.notes)
    return html_block(html_warnings(layer_map.warnings), lines, html_table(_rows(layer_map.layers), _HEADER, _RIGHT))


def _rows(layers: Sequence[Layer]) -> list[list[str]]:
    rows = []
    for name, run in folded_layers(layers):
        first, last = run[0], run[-1]
        depth = str(first.depth) if len(run) == 1 else f"{first.depth}-{last.depth}"
        weights = "pretrained" if first.pretrained else "new"
        total = count(sum(layer.n_parameters for layer in run))
        weights += ", built frozen" if first.built_frozen else ""
        rows.append([first.tower, name, role_of(first), depth, total, weights, first.source])
    return rows


def _headline(layer_map: Partition) -> str:
    total = count(sum(layer.n_parameters for layer in layer_map.layers))
    towers = len(layer_map.towers)
    line = f"LayerMap: {counted(len(layer_map.layers), 'layer')}, {counted(towers, 'tower')}, {total} weights"
    how = {"forward pass": ", in the order of a forward pass", "definition": ", in the order of definition"}
    line += how.get(layer_map.order, "")
    return line + (f", {len(layer_map.aliases)} tied" if layer_map.aliases else "")
