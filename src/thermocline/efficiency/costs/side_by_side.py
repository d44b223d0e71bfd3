"""A plan in two versions, with the backbone unfrozen and frozen: what both cost, side by side."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from thermocline.efficiency.costs.estimate import Estimate, cost, size
from thermocline.efficiency.costs.estimate_plan import StepSetup, estimate
from thermocline.efficiency.costs.layer_costs import Costs
from thermocline.errors import ThermoclineError
from thermocline.report.screen import paragraph
from thermocline.report.tables import count, html_block, html_lines, html_table, table
from thermocline.tuning.layers.layer_map import LayerMap
from thermocline.tuning.plan.layer_plan import LayerPlan

if TYPE_CHECKING:
    import pandas as pd

_HEADER = ["backbone", "trains", "activations", "gradients", "optimizer", "together", "cost"]
_NUMBERS = (1, 2, 3, 4, 5, 6)  # columns of numbers
_SPARE = (3, 4)  # columns that a narrow screen can do without


@dataclass(frozen=True, repr=False)
class SideBySide:
    """The costs of a plan in two versions.

    Attributes:
        unfrozen: With all of the backbone trainable that the model does not itself build frozen.
        frozen: With all of it frozen.
    """

    unfrozen: Estimate
    frozen: Estimate

    def to_frame(self) -> pd.DataFrame:
        """Return a row per version: weights that train, bytes, and the cost of a step; the most over the phases."""
        import pandas as pd

        return pd.DataFrame([_most(self.unfrozen), _most(self.frozen)], index=pd.Index(["unfrozen", "frozen"]))

    @property
    def ratio(self) -> float | None:
        """Memory with the backbone frozen relative to that with it unfrozen; None where it is not known."""
        full, part = (_most(one)["memory_bytes"] for one in (self.unfrozen, self.frozen))
        return part / full if full and part is not None else None

    def _rows(self) -> list[list[str]]:
        rows = []
        for name, one in (("unfrozen", self.unfrozen), ("frozen", self.frozen)):
            most = _most(one)
            sizes = [size(most[f"{key}_bytes"]) for key in ("activation", "gradient", "optimizer", "memory")]
            rows.append([name, count(most["trainable"]), *sizes, cost(most["cost"])])
        return rows

    @property
    def _title(self) -> str:
        share = "" if self.ratio is None else f": {100 * self.ratio:.0f} % of the memory on top of the weights"
        return f"The backbone unfrozen and frozen{share}"

    def __str__(self) -> str:
        return f"{paragraph(self._title)}\n" + table(self._rows(), _HEADER, right=_NUMBERS, spare=_SPARE)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return html_block(html_lines([self._title], strong=True), html_table(self._rows(), _HEADER, _NUMBERS))


def side_by_side(plan: LayerPlan, layer_map: LayerMap, costs: Costs | None, setup: StepSetup) -> SideBySide | None:
    """Estimate a plan with its backbone unfrozen and frozen; arguments as in `estimate`, without a cache in either.

    Returns:
        None for models whose layers have no parts, and for plans whose phases have no such version.
    """
    backbone = {layer.label for layer in layer_map if layer.part == "backbone"}
    if not backbone:
        return None
    built_frozen = {layer.label for layer in layer_map if layer.built_frozen}
    try:
        versions = [_version(plan, backbone - built_frozen, frozen=frozen) for frozen in (False, True)]
        return SideBySide(*(estimate(one, layer_map, costs, setup) for one in versions))
    except ThermoclineError:  # a phase in which only the backbone trains, for example
        return None


def _version(plan: LayerPlan, labels: Collection[str], *, frozen: bool) -> LayerPlan:
    layers = tuple(replace(one, frozen=frozen) if one.label in labels else one for one in plan.layers)
    return replace(plan, layers=layers, estimate=None)


def _most(one: Estimate) -> dict[str, Any]:
    """The phase that takes the most memory, as numbers."""
    phase = max(one.phases, key=lambda each: each.memory_bytes or each.gradient_bytes + each.optimizer_bytes)
    keys = ("trainable", "activation_bytes", "gradient_bytes", "optimizer_bytes", "memory_bytes", "cost")
    return {key: getattr(phase, key) for key in keys}
