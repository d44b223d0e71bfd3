"""What a plan costs, by phase: memory, and time relative to full tuning and in seconds; as a table in text and HTML."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from itertools import groupby
from typing import TYPE_CHECKING

from thermocline.efficiency.costs.live_bytes import LiveBytes
from thermocline.errors import counted
from thermocline.report.screen import paragraph
from thermocline.report.svg import bar
from thermocline.report.tables import count, html_block, html_lines, html_table, table

if TYPE_CHECKING:
    import pandas as pd

_UNKNOWN = "not known"
_HEADER = ["phase", "steps", "trains", "forward", "backward from", "activations", "gradients", "optimizer", "cost"]
_NUMBERS = (1, 2, 3, 5, 6, 7, 8, 9, 10, 11)  # columns of numbers
_SPARE = (7, 6, 5, 3)  # columns that a narrow screen can do without


@dataclass(frozen=True)
class PhaseEstimate:
    """What a step costs in one phase.

    Attributes:
        name: The phase's.
        steps: Its optimizer steps; None where the length of the run is not known.
        trainable: Weights that train; the most where layers are drawn.
        forward: The labels of the layers whose forward pass runs, once the cache is filled.
        backward: The labels of the layers that the backward pass reaches.
        begins: Per tower, the first of these.
        activation_bytes: The most that is saved for the backward pass; None where it is not known.
        gradient_bytes: Of the weights that train.
        optimizer_bytes: Of the optimizer's state, that of earlier phases too.
        cost: The time of a step relative to one in which everything trains and nothing is cached; None where it is not
            known.
        cost_uncached: The same without a cache.
        live: Bytes that are live at the peak; None where they were not counted.
        seconds: Of all its steps, on the device where steps were timed; None where none were.
    """

    name: str
    steps: int | None
    trainable: int
    forward: tuple[str, ...]
    backward: tuple[str, ...]
    begins: tuple[str, ...]
    activation_bytes: float | None
    gradient_bytes: int
    optimizer_bytes: int
    cost: float | None
    cost_uncached: float | None
    live: LiveBytes | None = None
    seconds: float | None = None

    @property
    def memory_bytes(self) -> float | None:
        """Activations, gradients and the optimizer's state together."""
        if self.activation_bytes is None:
            return None
        return self.activation_bytes + self.gradient_bytes + self.optimizer_bytes


@dataclass(frozen=True, repr=False)
class Estimate:
    """What a plan costs.

    Attributes:
        phases: In order.
        rows: Rows through the model at once.
        n_layers: Of the plan.
        n_parameters: Of the model.
        full_bytes: Activations, gradients and the optimizer's state where everything trains.
        cost: The time of the whole run relative to full tuning of the same length, the epoch that fills the cache
            included; None where the length of the phases is not known.
        cost_uncached: The same without a cache.
        device: The kind of device of the run.
        needed_bytes: An upper bound of what the process takes on it; None where it is not known.
        seconds: Of the run on the device where steps were timed, validations and the start of the head included; None
            where none were.
        seconds_validating: Those of the validations and of the start of the head.
    """

    phases: tuple[PhaseEstimate, ...]
    rows: int
    n_layers: int
    n_parameters: int
    full_bytes: float | None
    cost: float | None
    cost_uncached: float | None
    device: str = "cpu"
    needed_bytes: int | None = None
    seconds: float | None = None
    seconds_validating: float = 0.0

    @property
    def live(self) -> LiveBytes | None:
        """The live bytes of the phase that takes the most."""
        return LiveBytes.of_phases(phase.live for phase in self.phases if phase.steps != 0)

    def to_frame(self) -> pd.DataFrame:
        """Return one row per phase; of the live bytes the peak."""
        import pandas as pd

        columns = [one.name for one in fields(PhaseEstimate)]
        rows = [{**asdict(one), "live": None if one.live is None else one.live.peak} for one in self.phases]
        return pd.DataFrame(rows, columns=columns).rename(columns={"live": "live_bytes"})

    def __str__(self) -> str:
        return _text(self)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return _html(self)


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


def duration(seconds: float | None) -> str:
    """Return a time as `2.5 h`, `12 min`, `3.1 min`, `42 s`, `0.35 s`."""
    if seconds is None:
        return _UNKNOWN
    for unit, one in (("h", 3600.0), ("min", 60.0), ("s", 1.0)):
        if seconds >= 1.5 * one or unit == "s":
            value = seconds / one
            return f"{value:.0f} {unit}" if value >= 10 else f"{value:.2g} {unit}"
    raise AssertionError


def _has_cache(estimate: Estimate) -> bool:
    """Whether any layer's forward pass is skipped in any phase."""
    return any(len(phase.forward) < estimate.n_layers for phase in estimate.phases)


def _headline(estimate: Estimate) -> str:
    """Return the cost of the run and the most memory in one line."""
    known = [one.memory_bytes for one in estimate.phases if one.memory_bytes is not None and one.steps != 0]
    parts = [f"Estimate: {counted(estimate.rows, 'row')} a step"]
    if estimate.cost is not None:
        parts.append(f"the run costs {cost(estimate.cost)} of full tuning")
        if _has_cache(estimate):
            parts[-1] += f" ({cost(estimate.cost_uncached)} without the cache)"
    elif estimate.phases[0].cost is None:
        parts.append("cost not known: the model does not run on shapes alone")
    if known and estimate.full_bytes is not None:
        parts.append(f"at most {size(max(known))} on top of the weights (full tuning: {size(estimate.full_bytes)})")
    return ", ".join(parts)


def _absolute(estimate: Estimate) -> list[str]:
    """Return a line on bytes and one on time, as far as they are known."""
    lines, live = [], estimate.live
    if live is not None:
        parts = ("parameters", "buffers", "gradients", "optimizer", "averages", "activations", "temporaries")
        named = [f"{name} {size(getattr(live, name))}" for name in parts if getattr(live, name)]
        peak = f"{size(live.peak)} live at the peak of a training step ({', '.join(named)})"
        if live.peak > live.training:
            peak = f"{size(live.peak)} live while validating ({size(live.training)} in a training step)"
        lines.append(f"Memory: {peak}")
        if estimate.needed_bytes is not None:
            needed = f"{size(estimate.needed_bytes)} at most needed to run on this {estimate.device}"
            lines[-1] += f"; {needed}, caches apart"
    if estimate.seconds is not None:
        other = f"{duration(estimate.seconds_validating)} of it for validation and the start of the head"
        lines.append(f"Time: {duration(estimate.seconds)} on this {estimate.device}, {other}")
    return lines


def _begins(phase: PhaseEstimate, limit: int = 3) -> str:
    more = f" and {len(phase.begins) - limit} more" if len(phase.begins) > limit else ""
    return ", ".join(phase.begins[:limit]) + more


def _row(estimate: Estimate, phase: PhaseEstimate, header: Sequence[str]) -> list[str]:
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
    more = {
        "uncached": cost(phase.cost_uncached),
        "live": size(phase.live.peak if phase.live else None),
        "time": duration(phase.seconds),
    }
    return [*own, *(more[name] for name in header[len(own) :])]


def _cells(estimate: Estimate) -> tuple[list[str], list[list[str]]]:
    shown = {"uncached": _has_cache(estimate), "live": estimate.live, "time": estimate.seconds is not None}
    header = [*_HEADER, *(name for name, there in shown.items() if there)]
    return header, [_row(estimate, phase, header) for phase in estimate.phases]


def _text(estimate: Estimate) -> str:
    """Return the estimate as a text table under a headline."""
    header, rows = _cells(estimate)
    numbers = [i for i in _NUMBERS if i < len(header)]
    made = table(_folded(rows), header, right=numbers, spare=_SPARE)
    return "\n".join([*map(paragraph, [_headline(estimate), *_absolute(estimate)]), made])


def _folded(rows: Sequence[list[str]]) -> list[list[str]]:
    """Return one row for neighbours that differ in name alone, with the number of these phases."""
    out = []
    for _, group in groupby(rows, lambda row: row[1:]):
        own = list(group)
        name = own[0][0]
        if len(own) > 1:
            name = f"{name} … {own[-1][0]} (each of {len(own)})"
        out.append([name, *own[0][1:]])
    return out


def _html(estimate: Estimate) -> str:
    """Return the estimate as an HTML table with a bar for each cost, legible on light and dark."""
    header, rows = _cells(estimate)
    headline, lines = html_lines([_headline(estimate)], strong=True), html_lines(_absolute(estimate))
    top = max([1.0, *(phase.cost_uncached or 0.0 for phase in estimate.phases)])
    bars = [_bar(phase, top) for phase in estimate.phases]
    return html_block(headline, lines, html_table(rows, header, _NUMBERS, pictures=bars if any(bars) else ()))


def _bar(phase: PhaseEstimate, top: float) -> str:
    """Return the cost as a bar, followed by a paler one for what the cache saves; the line is full tuning."""
    if phase.cost is None or phase.cost_uncached is None:
        return ""
    return bar(phase.cost / top, paler=max(phase.cost_uncached - phase.cost, 0.0) / top, frame=True)
