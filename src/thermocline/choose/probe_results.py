"""What linear probes found: a table that prints, shows in a notebook, and is drawn as a curve over depth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from html import escape
from typing import TYPE_CHECKING, Any

from thermocline.choose.depth_costs import DepthCost
from thermocline.contracts.probing import FoldScores
from thermocline.efficiency.costs.estimate import size
from thermocline.errors import DataError, counted
from thermocline.report.tables import STYLE, html_cells, table
from thermocline.tuning.layers.layer import Layer

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ADVICE = (
    "How deep to freeze is decided by memory and time, not by this curve: a good probe after a layer is no reason to "
    "freeze the layers before it."
)
_COLORS = ("#1f6f8b", "#c7622b", "#4b8b3b", "#8b4b8b")
_DECIMALS = 3  # of a number below 10
_MOST_NAMED = 14  # layers whose names stand below the curve


@dataclass(frozen=True)
class Probed:
    """Features, and how well a linear model of them predicts the label.

    Attributes:
        name: What they are, such as `encoder.layer.3`.
        tower: The tower that they are of; empty where there are several.
        width: Their number.
        scores: On rows of folds that the model was not fitted to.
        label: The layer's label in the layer map, where they are the output of a layer.
        depth: The number of layers of the tower up to it, itself counted: what `frozen_layers` takes to freeze these.
        cost: What a training step costs with these layers frozen; None where that is not known.
    """

    name: str
    tower: str
    width: int
    scores: FoldScores = field(repr=False, compare=False)
    label: str = ""
    depth: int | None = None
    cost: DepthCost | None = None

    @property
    def loss(self) -> float:
        """The mean loss of a row; see `Probes.loss_name`."""
        return self.scores.loss

    @property
    def loss_error(self) -> float:
        """Its standard error, over the rows."""
        return self.scores.loss_error

    @property
    def metric(self) -> float:
        """The mean of the metric over the folds."""
        return self.scores.metric

    @property
    def metric_error(self) -> float:
        """Its standard error, over the folds."""
        return self.scores.metric_error

    def at(self, layer: Layer, cost: DepthCost | None) -> Probed:
        """Return the same as the output of a layer."""
        return replace(self, label=layer.label, depth=layer.depth + 1, cost=cost)


@dataclass(frozen=True)
class Probes:
    """Linear probes of what frozen layers give. They rank layers and towers before anything is tuned.

    Attributes:
        depths: Of the output of each stem and block, mean over tokens or map, tower by tower in order.
        towers: Of each tower's own features alone: what each kind of column carries.
        joined: Of all towers together; None where there is one.
        last: Of the last layers of each tower side by side.
        constant: Of no features: the loss where nothing but the shares of the classes, or the mean, is known.
        rows: Training rows that were used.
        of_rows: Training rows that there are.
        folds: Folds: each row is scored by a model of the others.
        loss_name: `log-loss`, or `error / variance`: the squared error, relative to the label's variance.
        metric_name: The metric.
        notes: What was left out, and why.

    Example:
        `predictor.recommend(train, probes=True).probes.plot()`
    """

    depths: tuple[Probed, ...]
    towers: tuple[Probed, ...]
    joined: Probed | None
    last: tuple[Probed, ...]
    constant: Probed
    rows: int
    of_rows: int
    folds: int
    loss_name: str
    metric_name: str
    notes: tuple[str, ...] = ()

    def to_frame(self) -> pd.DataFrame:
        """Return a row for each probe.

        Returns:
            Columns `kind` (`constant`, `tower`, `joined`, `last layers`, `layer`), `name`, `tower`, `depth`, `width`,
            `loss`, `loss_error`, `behind` (the loss above that of the best of the same kind and tower), `behind_error`
            (the standard error of this difference on the same rows), `metric`, `metric_error`, `step_time` and
            `step_bytes` (see `DepthCost`).
        """
        import pandas as pd

        kinds = [("constant", [self.constant]), ("tower", self.towers), ("joined", [self.joined] * bool(self.joined))]
        kinds += [("last layers", self.last), ("layer", self.depths)]
        rows = [_values(kind, one, self._best(kind, one)) for kind, group in kinds for one in group if one is not None]
        return pd.DataFrame(rows)

    def plot(self) -> Figure:
        """Draw the loss after each layer with its standard error, over the time of a step with the layers frozen.

        Raises:
            DataError: No layer was probed.
        """
        if not self.depths:
            raise DataError("No layer was probed, so there is no curve. " + " ".join(f"{one}." for one in self.notes))
        from thermocline.report import plotting

        pyplot = plotting.pyplot()

        known = self._costs_known
        options: dict[str, Any] = {"height_ratios": [3, 1]} if known else {}
        figure: Figure = pyplot.figure(figsize=(8, 5 if known else 4), layout="constrained")
        axes = figure.subplots(1 + known, 1, sharex=True, squeeze=False, **options)[:, 0]
        _draw_losses(self, axes[0])
        if known:
            _draw_costs(self, axes[1])
        _name_depths(self, axes[-1])
        return figure

    @property
    def by_tower(self) -> dict[str, list[Probed]]:
        """The probes of layers by tower."""
        return {name: [one for one in self.depths if one.tower == name] for name in self._names}

    @property
    def _costs_known(self) -> bool:
        return any(one.cost is not None for one in self.depths)

    @property
    def _names(self) -> list[str]:
        return list(dict.fromkeys(one.tower for one in self.depths))

    def _best(self, kind: str, probe: Probed) -> Probed:
        group = self.by_tower[probe.tower] if kind == "layer" else self._whole
        return min(group, key=lambda one: one.loss)

    @property
    def _whole(self) -> list[Probed]:
        return [self.constant, *self.towers, *([] if self.joined is None else [self.joined]), *self.last]

    @property
    def _headline(self) -> str:
        of_all = f"{self.rows:,} of {self.of_rows:,}" if self.rows < self.of_rows else f"{self.rows:,}"
        return (
            f"Linear probes on {of_all} training {'row' if self.of_rows == 1 else 'rows'}, "
            f"{counted(self.folds, 'fold')}, nothing is trained; ± 1 standard error"
        )

    @property
    def _tables(self) -> list[tuple[list[str], list[list[str]], list[int]]]:
        """Header, rows and columns of numbers of each table."""
        scored = [self.loss_name, "above best", self.metric_name]
        whole = [[one.name, str(one.width), *_scored(one, self._best("tower", one))] for one in self._whole]
        found = [(["features", "width", *scored], whole, [1, 2, 3, 4])]
        known = self._costs_known
        deep = [
            [one.tower, one.name, str(one.depth), *_scored(one, self._best("layer", one)), *_costs(one) * known]
            for one in self.depths
        ]
        header = ["tower", "after layer", "frozen_layers", *scored]
        header += ["step time if frozen", "bytes if frozen"] * known
        return [*found, (header, deep, list(range(2, len(header))))] if deep else found

    def __repr__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        tables = [table(rows, header, right) for header, rows, right in self._tables]
        advice = [ADVICE] if self.depths else []
        return "\n".join([self._headline, *tables, *advice, *self.notes])

    def _repr_html_(self) -> str:
        parts = []
        for header, rows, right in self._tables:
            head = html_cells(header, right, tag="th")
            body = "".join(f"<tr>{html_cells(row, right)}</tr>" for row in rows)
            parts.append(f"<table class=tcl><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>")
        lines = [*([ADVICE] if self.depths else []), *self.notes]
        below = "".join(f"<div>{escape(line)}</div>" for line in lines)
        return f"{STYLE}<div class=tcl><div class=w>{escape(self._headline)}</div>{'<br>'.join(parts)}{below}</div>"


def plus_minus(value: float, error: float, *, sign: bool = False) -> str:
    """Return a number with its standard error, as `0.693 ± 0.012`."""
    if math.isnan(value):
        return "not defined"
    largest = max(abs(value), abs(error) if math.isfinite(error) else 0.0)
    places = max(0, _DECIMALS - max(0, math.floor(math.log10(largest)))) if 0 < largest < math.inf else _DECIMALS
    shown = f"{value:+.{places}f}" if sign else f"{value:.{places}f}"
    return shown if math.isnan(error) else f"{shown} ± {error:.{places}f}"


def _scored(probe: Probed, best: Probed) -> list[str]:
    above = "" if probe is best else plus_minus(*probe.scores.behind(best.scores), sign=True)
    return [plus_minus(probe.loss, probe.loss_error), above, plus_minus(probe.metric, probe.metric_error)]


def _costs(probe: Probed) -> list[str]:
    return ["", ""] if probe.cost is None else [f"{probe.cost.time:.2f}", size(probe.cost.memory)]


def _values(kind: str, probe: Probed, best: Probed) -> dict[str, Any]:
    behind, error = probe.scores.behind(best.scores)
    return {
        "kind": kind,
        "name": probe.name,
        "tower": probe.tower,
        "depth": probe.depth,
        "width": probe.width,
        "loss": probe.loss,
        "loss_error": probe.loss_error,
        "behind": behind,
        "behind_error": error,
        "metric": probe.metric,
        "metric_error": probe.metric_error,
        "step_time": None if probe.cost is None else probe.cost.time,
        "step_bytes": None if probe.cost is None else probe.cost.memory,
    }


# -- the curve -----------------------------------------------------------------------------------------------------


def _draw_losses(probes: Probes, ax: Axes) -> None:
    for color, (name, own) in zip(_cycled(len(probes.by_tower)), probes.by_tower.items(), strict=True):
        places = [one.depth or 0 for one in own]
        losses, errors = [one.loss for one in own], [one.loss_error for one in own]
        ax.errorbar(places, losses, errors, marker="o", capsize=3, color=color, label=f"{name}, after the layer")
        for whole in probes.towers:
            if whole.tower == name:
                ax.axhline(whole.loss, color=color, linestyle="--", linewidth=1, label=f"{name}, what the head sees")
    ax.axhline(probes.constant.loss, color="#888888", linestyle=":", linewidth=1, label="no features")
    ax.set_ylabel(f"{probes.loss_name} of the probe")
    ax.set_title(probes._headline, fontsize="medium", loc="left")
    ax.legend(fontsize="small", frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    _without_frame(ax)


def _draw_costs(probes: Probes, ax: Axes) -> None:
    for color, own in zip(_cycled(len(probes.by_tower)), probes.by_tower.values(), strict=True):
        known = [(one.depth or 0, one.cost.time) for one in own if one.cost is not None]
        ax.plot(*zip(*known, strict=True), marker=".", drawstyle="steps-mid", color=color) if known else None
    ax.set_ylim(0, 1.05)
    ax.set_ylabel("step time\nif frozen")
    _without_frame(ax)


def _without_frame(ax: Axes) -> None:
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)


def _name_depths(probes: Probes, ax: Axes) -> None:
    from matplotlib.ticker import MaxNLocator

    groups = list(probes.by_tower.values())
    if len(groups) == 1 and len(groups[0]) <= _MOST_NAMED:
        ax.set_xticks([one.depth or 0 for one in groups[0]], [one.name for one in groups[0]], rotation=40, ha="right")
    else:
        ax.set_xlabel("layers of the tower, up to this one")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))


def _cycled(number: int) -> Sequence[str]:
    return [_COLORS[place % len(_COLORS)] for place in range(number)]
