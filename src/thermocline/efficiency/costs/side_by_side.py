"""A plan of a detector beside itself: what it costs with the image backbone frozen, and with it training."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from html import escape
from typing import TYPE_CHECKING, Any

from thermocline.efficiency.costs.estimate import Estimate, estimate
from thermocline.efficiency.costs.estimate_show import cost, html_cells, size
from thermocline.efficiency.costs.layer_costs import Costs
from thermocline.errors import ThermoclineError
from thermocline.tuning.layers.layer_map import LayerMap
from thermocline.tuning.plan.layer_plan import LayerPlan
from thermocline.tuning.tables import STYLE, count, table

if TYPE_CHECKING:
    import pandas as pd

_HEADER = ["backbone", "trains", "activations", "gradients", "optimizer", "together", "cost"]
_RIGHT = (1, 2, 3, 4, 5, 6)


@dataclass(frozen=True)
class Beside:
    """The costs of a plan in two versions.

    Attributes:
        trained: With all of the backbone training that its model does not itself build frozen.
        frozen: With all of it frozen.
    """

    trained: Estimate
    frozen: Estimate

    def to_frame(self) -> pd.DataFrame:
        """Return a row per version: weights that train, bytes, and the cost of a step; the most over the phases."""
        import pandas as pd

        return pd.DataFrame([_most(self.trained), _most(self.frozen)], index=pd.Index(["trains", "frozen"]))

    @property
    def ratio(self) -> float | None:
        """Memory with the backbone frozen, as a share of that with it training; None where it is not known."""
        full, part = (_most(one)["memory_bytes"] for one in (self.trained, self.frozen))
        return part / full if full and part is not None else None

    def _rows(self) -> list[list[str]]:
        rows = []
        for name, one in (("trains", self.trained), ("frozen", self.frozen)):
            most = _most(one)
            sizes = [size(most[f"{key}_bytes"]) for key in ("activation", "gradient", "optimizer", "memory")]
            rows.append([name, count(most["trainable"]), *sizes, cost(most["cost"])])
        return rows

    @property
    def _title(self) -> str:
        share = "" if self.ratio is None else f": {self.ratio:.0%} of the memory beside the weights"
        return f"The image backbone training and frozen{share}"

    def __str__(self) -> str:
        return f"{self._title}\n" + table(self._rows(), _HEADER, right=_RIGHT)

    def _repr_html_(self) -> str:
        body = "".join(f"<tr>{html_cells(row, 'td')}</tr>" for row in self._rows())
        head = f"<div>{escape(self._title)}</div>"
        return f"{STYLE}<div class=tcl>{head}<table class=tcl><thead><tr>{html_cells(_HEADER, 'th')}</tr></thead>" + (
            f"<tbody>{body}</tbody></table></div>"
        )


def beside(
    plan: LayerPlan,
    layer_map: LayerMap,
    costs: Costs | None,
    *,
    rows: int,
    checkpointed: Collection[str] = (),
    optimizer: str = "adamw",
) -> Beside | None:
    """Estimate a plan with its backbone frozen and not; arguments as in `estimate`, without a cache in either.

    Returns:
        None for models whose parts are not told apart, and for plans whose phases have no such version.
    """
    backbone = {layer.label for layer in layer_map if layer.part == "backbone"}
    if not backbone:
        return None
    resting = {layer.label for layer in layer_map if layer.built_frozen}
    try:
        versions = [_version(plan, backbone - resting, frozen=frozen) for frozen in (False, True)]
        found = [
            estimate(one, layer_map, costs, rows=rows, checkpointed=checkpointed, optimizer=optimizer)
            for one in versions
        ]
    except ThermoclineError:  # a phase in which the backbone alone trains, say
        return None
    return Beside(*found)


def _version(plan: LayerPlan, labels: Collection[str], *, frozen: bool) -> LayerPlan:
    layers = tuple(replace(one, frozen=frozen) if one.label in labels else one for one in plan.layers)
    return replace(plan, layers=layers, estimate=None)


def _most(one: Estimate) -> dict[str, Any]:
    """The phase that takes the most memory, as numbers."""
    phase = max(one.phases, key=lambda each: each.memory_bytes or each.gradient_bytes + each.optimizer_bytes)
    keys = ("trainable", "activation_bytes", "gradient_bytes", "optimizer_bytes", "memory_bytes", "cost")
    return {key: getattr(phase, key) for key in keys}
