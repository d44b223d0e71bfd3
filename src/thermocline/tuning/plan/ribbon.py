"""Phases as a ribbon, layers by time: which layers train when; as text here, as a picture in `ribbon_picture`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

from thermocline.errors import counted
from thermocline.report.screen import UNKNOWN_WIDTH, columns_of, middle_cut, paragraph, screen_width
from thermocline.report.tables import ranges, table
from thermocline.tuning.layers.folding import folded_runs
from thermocline.tuning.plan.decisions import Decisions
from thermocline.tuning.plan.plan_layer import PlanLayer
from thermocline.tuning.schedule.cursor import Cursor
from thermocline.tuning.schedule.phases import ARGUMENTS, Phase

_COLUMNS, _MOST, _LEAST = 60, 120, 20  # of the text: where the screen is not wide, at most, and at least
_PER_EPOCH = 100  # steps, where it is not known
_TO_THE_END = "to the end"


@dataclass(frozen=True)
class Row:
    """Layers that train at the same times.

    Attributes:
        name: Folded, with the tower.
        rates: At each point their highest rate, as a share of the highest of all; 0 where they are frozen.
    """

    name: str
    rates: tuple[float, ...]


def has_ribbon(plan: Decisions) -> bool:
    """Whether there is anything to show: more than one phase, or a phase that draws layers."""
    return len(plan.phases) > 1 or any(phase.draw is not None for phase in plan.phases)


def moments(plan: Decisions, points: int) -> list[Cursor]:
    """Return cursors at even distances over the run; a plateau is taken to end its phase as late as possible."""
    total, per_epoch = run_length(plan)
    steps = [min(int((place + 0.5) * total / points), total - 1) for place in range(points)]
    return [plan.cursor(step, total, steps_per_epoch=per_epoch) for step in steps]


def run_length(plan: Decisions) -> tuple[int, int]:
    """Return total steps and steps per epoch: of the run that the plan was made for, or such that all phases show."""
    per_epoch = plan.steps_per_epoch or _PER_EPOCH
    if plan.total_steps:
        return plan.total_steps, per_epoch
    lengths = [phase.steps or round((phase.epochs or 0) * per_epoch) for phase in plan.phases]
    drawn = max((8 * phase.draw.every for phase in plan.phases if phase.draw is not None), default=0)
    known = sum(lengths)
    open_ended = 0 if all(lengths) else max(known // max(sum(map(bool, lengths)), 1), per_epoch)
    return max(known + open_ended, drawn, 1), per_epoch


def rows(plan: Decisions, points: int) -> list[Row]:
    """Return the rows of the ribbon, in the plan's order; neighbours that train at the same times are one row."""
    cursors = moments(plan, points)
    sets = [plan.timeline.trains(cursor) for cursor in cursors]
    rates = {layer.label: [plan.lr_at(layer.label, cursor) for cursor in cursors] for layer in plan.layers}
    most = highest(plan) or 1.0
    layers = [layer for layer in plan.layers if layer.n_parameters]
    out = []
    for name, run in folded_runs(layers, lambda x: _pattern(x, sets)):
        top = [min(max(rates[layer.label][i] for layer in run) / most, 1.0) for i in range(points)]
        top = [max(rate, 1e-9) if run[0].label in sets[i] else 0.0 for i, rate in enumerate(top)]
        out.append(Row(f"{run[0].tower}/{name}", tuple(top)))
    return out


def highest(plan: Decisions) -> float:
    """Return the highest rate that any layer reaches; 0 where all are frozen throughout."""
    return plan.lr * max(plan.peaks.values(), default=0.0)


def _pattern(layer: PlanLayer, sets: Sequence[frozenset[str]]) -> tuple[object, ...]:
    return layer.tower, layer.role, tuple(layer.label in one for one in sets)


def stretches(plan: Decisions, points: int) -> list[tuple[int, int]]:
    """Return the index of each phase that the run reaches, and how many points it lasts."""
    return [(phase, len(list(own))) for phase, own in groupby(cursor.phase for cursor in moments(plan, points))]


def text(plan: Decisions) -> str:
    """Return the ribbon as text, and a line for each phase below it."""
    made = _fitting_rows(plan)
    columns = len(made[0].rates)
    width = max(columns_of(row.name) for row in made)
    marks = f"{'':<{width}}  {numbers(stretches(plan, columns))}".rstrip()
    title = paragraph(f"{headline(plan)}: █ trainable, · frozen")
    return "\n".join([title, marks, *(_line(row, width) for row in made), _list_of(plan.phases)])


_LISTED = ["", "phase", "lasts", "rate"]


def _fitting_rows(plan: Decisions) -> list[Row]:
    """Return the rows of the ribbon, with names and bars that fit the screen."""
    screen = screen_width()
    bars = _COLUMNS if screen <= UNKNOWN_WIDTH else _MOST
    made = rows(plan, bars)
    room = max(screen - 2 - max(columns_of(row.name) for row in made), _LEAST)
    if room < bars:
        bars, made = room, rows(plan, room)
    return [replace(row, name=middle_cut(row.name, screen - 2 - bars)) for row in made]


def _line(row: Row, width: int) -> str:
    bar = "".join("█" if rate else "·" for rate in row.rates)
    return f"{row.name}{' ' * (width - columns_of(row.name))}  {bar}"


def numbers(parts: Sequence[tuple[int, int]]) -> str:
    """Return the numbers of phases above where they begin; one is left out where there is no room for it.

    Args:
        parts: Index of a phase, and how many columns it takes.

    Example:
        >>> numbers([(8, 4), (9, 2), (10, 2), (11, 5)])
        '9   10  12'
    """
    line, place, total = "", 0, sum(columns for _, columns in parts)
    for phase, columns in parts:
        number = str(phase + 1)
        if (not line or len(line) < place) and place + len(number) <= total:
            line = line.ljust(place) + number
        place += columns
    return line


def _list_of(phases: Sequence[Phase]) -> str:
    """A line for each phase, or for several that follow each other and differ in name and layers alone."""
    lines = []
    for (lasts, rate), group in groupby(range(len(phases)), lambda i: (ends(phases[i]), course(phases[i]))):
        own = list(group)
        name, each = phases[own[0]].name, ""
        if len(own) > 1:
            name, each = f"{name} … {phases[own[-1]].name}", "" if lasts == _TO_THE_END else " each"
        lines.append([ranges([i + 1 for i in own]), name, lasts + each, rate])
    return table(lines, _LISTED, right=(0,))


def ends(phase: Phase) -> str:
    """Return how long a phase lasts, in words."""
    parts = []
    if phase.steps is not None:
        parts.append(_counted(phase.steps, "step"))
    if phase.epochs is not None:
        parts.append(_counted(phase.epochs, "epoch"))
    if phase.fraction is not None:
        parts.append(f"to {100 * phase.fraction:.3g} % of the run")
    if phase.plateau is not None:
        gain = f" of {phase.plateau.min_delta:g}" if phase.plateau.min_delta else ""
        parts.append(f"until {_counted(phase.plateau.patience, 'validation')} without a gain{gain}")
    return ", or ".join(parts) or _TO_THE_END


def course(phase: Phase) -> str:
    """Return the schedule of a phase, or its schedules by selector, in words."""
    run = phase.over == "run"
    if phase.schedule == "one_cycle":
        return f"one cycle{' over the whole run' if run else ''}, rising for {100 * phase.pct_start:.0f} %"
    shape = _each(phase.schedule, lambda one: _shape(one, phase))
    if not phase.warmup:
        return f"{shape}{' over the whole run' if run else ''}"
    scope = "the whole run" if run else "its steps"
    long = _each(phase.warmup, _length)
    share = "" if isinstance(phase.warmup, int) else f" of {scope}"
    return f"warm-up over {long}{share}, then {shape}"


def _length(warmup: float) -> str:
    """How long a warm-up is, in words: a whole number counts steps."""
    return counted(warmup, "step") if isinstance(warmup, int) else f"the first {100 * warmup:.0f} %"


def _shape(schedule: str, phase: Phase) -> str:
    """A schedule of a phase after the warm-up, in words."""
    end = f" to {phase.final:g}" if phase.final and "final" in ARGUMENTS[schedule] else ""
    if schedule == "polynomial":
        return f"polynomial of power {phase.power:g}{end}"
    if schedule == "cosine_restarts":
        return f"{counted(phase.cycles, 'cosine')}{end}"
    if schedule == "wsd":
        last = counted(phase.decay, "step") if isinstance(phase.decay, int) else f"{100 * phase.decay:.0f} %"
        return f"constant, for the last {last} falling as {phase.decay_shape}{end}"
    return {"inverse_sqrt": "inverse square root"}.get(schedule, schedule) + end


def _each(value: Any, shown: Callable[[Any], str]) -> str:
    """A value in words, or the values of several selectors."""
    if not isinstance(value, Mapping):
        return shown(value)
    return ", ".join(f"{shown(one)} ({'rest' if selector == '*' else selector})" for selector, one in value.items())


def _counted(number: float, word: str) -> str:
    return f"{number:g} {word}{'' if number == 1 else 's'}"


def headline(plan: Decisions) -> str:
    """Return how many phases there are, and over what run."""
    total, per_epoch = run_length(plan)
    late = "; plateaus at their latest" if any(phase.plateau for phase in plan.phases) else ""
    length = "a run of any length"
    if plan.total_steps:
        length = f"{_counted(round(total / per_epoch, 2), 'epoch')} of {_counted(per_epoch, 'step')}"
    return f"{_counted(len(plan.phases), 'phase')} over {length}{late}"
