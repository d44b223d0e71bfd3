"""A phase of training as pure data: what trains, for how long, under which schedule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from thermocline.errors import ConfigError, did_you_mean, listing
from thermocline.tuning.number_checks import fraction, not_negative, positive, whole
from thermocline.tuning.schedule import curves

ARGUMENTS = {
    "cosine": ("final",),
    "linear": ("final",),
    "constant": (),
    "one_cycle": ("pct_start", "div_factor", "final_div_factor", "momentum"),
    "polynomial": ("final", "power"),
    "inverse_sqrt": (),
    "wsd": ("final", "decay", "decay_shape"),
    "cosine_restarts": ("final", "cycles"),
}
"""The fields of a phase, besides `warmup`, that each schedule reads."""
SCHEDULES = tuple(ARGUMENTS)
DECAY_SHAPES = ("1-sqrt", "linear", "cosine")
SCHEDULE, WARMUP = "cosine", 0.1
"""Of a phase that says nothing else, and of layers that no selector of a phase names."""
EVERYTHING = "*"
_NO_WARMUP = 0.1  # of the schedule: the timescale of `inverse_sqrt` where nothing warms up


@dataclass(frozen=True)
class Plateau:
    """An end by the validation score: after `patience` validations in a row without a better score.

    Attributes:
        patience: How many.
        min_delta: By how much a score must exceed the best one of the phase to count as better, in the metric's
            own units (higher is better).
    """

    patience: int = 1
    min_delta: float = 0.0

    def __post_init__(self) -> None:
        whole("plateau.patience", self.patience)
        not_negative("plateau.min_delta", self.min_delta)


@dataclass(frozen=True)
class Draw:
    """Layers that are drawn at random to train in turn: a function of the seed and the step alone.

    Attributes:
        n: How many layers at once.
        every: For how many steps.
        seed: Of the draws.
        among: Selectors of the layers to draw from.
    """

    n: int
    every: int
    seed: int = 0
    among: tuple[str | int, ...] = ("block",)

    def __post_init__(self) -> None:
        whole("draw.n", self.n)
        whole("draw.every", self.every)
        whole("draw.seed", self.seed, least=0)
        object.__setattr__(self, "among", selectors("draw.among", self.among))


@dataclass(frozen=True, repr=False)
class Phase:
    """A phase of training. Of several ends the first to come counts; without any it lasts to the end of the run.

    Attributes:
        name: Shown in tables and plots.
        trains: `"*"`, or selectors (see `thermocline.tuning.layers.selectors.select`) of the layers that train.
        schedule: `constant`, `linear`, `cosine`, `one_cycle`, `polynomial`, `inverse_sqrt`, `wsd` (warmup-stable-decay)
            or `cosine_restarts`; or one of them per selector (`"*"` for the rest, which has `cosine` without it).
        warmup: How long the rate rises linearly: a fraction of the schedule below 1, or a number of steps. Not used
            by `one_cycle`, which begins with a rise of its own. Or one per selector (`"*"` for the rest, which has 0.1
            without it).
        final: The multiple of the rate at which `linear`, `cosine`, `polynomial`, `wsd` and each cycle of
            `cosine_restarts` end.
        power: Of `polynomial`: 1 is a line, 2 falls fast at first.
        decay: How long `wsd` falls at its end: a fraction of the schedule, or a number of steps.
        decay_shape: How it falls: `1-sqrt`, `linear` or `cosine`.
        cycles: Of `cosine_restarts`: how often it falls; it begins with 1 again in between.
        pct_start: The fraction of `one_cycle` that rises.
        div_factor: `one_cycle` begins at the rate divided by this,
        final_div_factor: and ends at its beginning divided by this, as PyTorch's `OneCycleLR`.
        momentum: The range of the optimizer's momentum (Adam: its first beta) under `one_cycle`: from the first
            number to the second as the rate rises, and back; None leaves the momentum as it is.
        over: Whether the schedule runs over the `phase`, or over the whole `run` whatever its phases.
        steps: It ends after this many optimizer steps.
        epochs: It ends after this many epochs.
        fraction: It ends when this fraction of the whole run is done.
        plateau: It ends when the validation score stops rising.
        lr_mult: A multiple of the plan's rates: one number, or one per selector (`"*"` for the rest).
        lr_scale: Scales in place of the plan's own, by selector: multiples of the base rate.
        draw: Layers that train in turn, besides those in `trains`.
        thaw_warmup: How long the rate of layers that are unfrozen on entry rises, as for `warmup`: their moments in
            Adam start at zero while the schedule is in its middle.
        optimizer_state: `keep` or `reset` the state of layers that are unfrozen on entry, from an earlier phase.
        restore_best: Whether the phase starts from the best weights so far.

    Example:
        >>> from thermocline.tuning.schedule.phases import Phase
        >>> head = Phase("head", trains="head", epochs=1, schedule="constant", warmup=0)
        >>> rest = Phase("all", lr_mult={"backbone": 0.5})
        >>> [phase.name for phase in predictor.plan.with_phases([head, rest]).phases]
        ['head', 'all']
        >>> [round(Phase(warmup=0).factor(step, steps=100), 2) for step in (0, 50, 99)]
        [1.0, 0.5, 0.0]
    """

    name: str = "train"
    trains: str | tuple[str | int, ...] = EVERYTHING
    schedule: str | Mapping[str, str] = SCHEDULE
    warmup: float | int | Mapping[str, float | int] = WARMUP
    final: float = 0.0
    power: float = 1.0
    decay: float | int = 0.1
    decay_shape: str = "1-sqrt"
    cycles: int = 2
    pct_start: float = 0.3
    div_factor: float = 25.0
    final_div_factor: float = 1e4
    momentum: tuple[float, float] | None = (0.95, 0.85)
    over: str = "phase"
    steps: int | None = None
    epochs: float | None = None
    fraction: float | None = None
    plateau: Plateau | None = None
    lr_mult: float | Mapping[str, float] = 1.0
    lr_scale: Mapping[str, float] = field(default_factory=dict)
    draw: Draw | None = None
    thaw_warmup: float | int = 0.0
    optimizer_state: str = "keep"
    restore_best: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name.strip():
            raise ConfigError(f"The name of a phase is a text; got {self.name!r}.")
        if self.trains != EVERYTHING:
            object.__setattr__(self, "trains", selectors("trains", self.trains, empty=self.draw is not None))
        for name in ("schedule", "warmup"):
            if isinstance(getattr(self, name), Mapping):
                object.__setattr__(self, name, dict(getattr(self, name)))
        for schedule in _each("schedule", self.schedule):
            _choice("schedule", schedule, SCHEDULES)
        _choice("decay_shape", self.decay_shape, DECAY_SHAPES)
        _choice("over", self.over, ("phase", "run"))
        _choice("optimizer_state", self.optimizer_state, ("keep", "reset"))
        _check_shape(self)
        _check_ends(self)
        if isinstance(self.lr_mult, Mapping):
            object.__setattr__(self, "lr_mult", _by_selector("lr_mult", self.lr_mult))
        else:
            object.__setattr__(self, "lr_mult", not_negative("lr_mult", self.lr_mult))
        object.__setattr__(self, "lr_scale", _by_selector("lr_scale", self.lr_scale))

    def __repr__(self) -> str:
        own = {one.name: getattr(self, one.name) for one in fields(self)}
        usual: dict[str, Any] = {one.name: {} if callable(one.default_factory) else one.default for one in fields(self)}
        said = [f"{name}={value!r}" for name, value in own.items() if name == "name" or value != usual[name]]
        return f"Phase({', '.join(said)})"

    @property
    def is_mixed(self) -> bool:
        """Whether layers have schedules or warm-ups of their own; `phase_layers.courses` takes these apart."""
        return isinstance(self.schedule, Mapping) or isinstance(self.warmup, Mapping)

    def factor(self, step: int, steps: int) -> float:
        """Return the multiple of the rate at a step of the schedule, in a phase that has one for all layers.

        Args:
            step: 0-based, within the schedule; clamped into it.
            steps: The length of the schedule.
        """
        steps = max(steps, 1)
        step = min(max(step, 0), steps - 1)
        assert isinstance(self.schedule, str)
        assert not isinstance(self.warmup, Mapping)
        if self.schedule == "one_cycle":
            low = 1.0 / self.div_factor
            return curves.cycle(step / steps, self.pct_start, low, 1.0, low / self.final_div_factor)
        warmup = curves.length(self.warmup, steps)
        if step < warmup:
            return curves.rising(step, warmup)
        return self._after_warmup(step - warmup, max(steps - warmup, 1), warmup, steps)

    def _after_warmup(self, step: int, left: int, warmup: int, steps: int) -> float:
        """The multiple at a step after the warm-up, of `left` such steps; what falls would end one step after them."""
        if self.schedule == "constant":
            return 1.0
        if self.schedule == "inverse_sqrt":
            return curves.inverse_sqrt(step, warmup or max(1, round(_NO_WARMUP * steps)))
        if self.schedule == "wsd":
            stable = max(0, left - curves.length(self.decay, steps))
            shape = curves.cooled((step - stable) / (left - stable), self.decay_shape) if step >= stable else 1.0
        elif self.schedule == "cosine_restarts":
            shape = curves.restarted(step / left, self.cycles)
        elif self.schedule == "cosine":
            shape = curves.cosine(step / left)
        else:
            shape = curves.decayed(step / left, self.power if self.schedule == "polynomial" else 1.0)
        return self.final + (1.0 - self.final) * shape

    def shortened(self, share: float) -> Phase:
        """Return the phase of a run that takes this share of its planned steps: lengths in steps or epochs shrink."""

        def steps(value: float | int) -> float | int:
            return max(1, round(value * share)) if isinstance(value, int) and value else value

        return replace(
            self,
            steps=None if self.steps is None else int(steps(self.steps)),
            epochs=None if self.epochs is None else self.epochs * share,
            warmup=(
                {key: steps(one) for key, one in self.warmup.items()}
                if isinstance(self.warmup, Mapping)
                else steps(self.warmup)
            ),
            decay=steps(self.decay),
            thaw_warmup=steps(self.thaw_warmup),
        )

    def momentum_factor(self, step: int, steps: int) -> float | None:
        """Return the optimizer's momentum at a step of the schedule; None where the phase does not change it."""
        if self.schedule != "one_cycle" or self.momentum is None:
            return None
        steps = max(steps, 1)
        high, low = self.momentum
        return curves.cycle(min(max(step, 0), steps - 1) / steps, self.pct_start, high, low, high)


def rate_fields(phase: Phase) -> dict[str, Any]:
    """Return the schedule of a phase, its warm-up and what else the schedule reads; of several schedules all of it."""
    schedules = _each("schedule", phase.schedule)
    if isinstance(phase.schedule, Mapping) and EVERYTHING not in phase.schedule:
        schedules = [*schedules, SCHEDULE]
    warmup = () if set(schedules) == {"one_cycle"} else ("warmup",)
    read = dict.fromkeys(name for one in schedules for name in ARGUMENTS[one])
    return {name: getattr(phase, name) for name in ("schedule", *warmup, *read)}


def check_arguments(schedule: str, arguments: Mapping[str, Any], where: str) -> None:
    """Raise where arguments are not of a schedule.

    Args:
        schedule: Its name.
        arguments: By the names of fields of a phase.
        where: What holds them, for the error.

    Raises:
        ConfigError: It is no schedule, or does not read one of them.
    """
    _choice("schedule", schedule, SCHEDULES)
    known = ARGUMENTS[schedule]
    for name in arguments:
        if name not in known:
            takes = f"{listing(known)}.{did_you_mean(name, known)}" if known else "none. Leave it out."
            raise ConfigError(f"{where}: {schedule} has no {name!r}; it takes {takes}")


def selectors(name: str, value: Any, *, empty: bool = False) -> tuple[str | int, ...]:
    """Return one selector or several as a tuple.

    Raises:
        ConfigError: Neither, or none where `empty` is false.
    """
    items = [value] if isinstance(value, (str, int)) else list(value) if isinstance(value, Sequence) else [None]
    bad = any(isinstance(one, bool) or not isinstance(one, (str, int)) or one == "" for one in items)
    if bad or not (items or empty):
        raise ConfigError(f"{name} takes '*', a layer selector, or a list of these; got {value!r}.")
    return tuple(items)


def _check_shape(phase: Phase) -> None:
    for name, value in (
        *(("warmup", one) for one in _each("warmup", phase.warmup)),
        ("thaw_warmup", phase.thaw_warmup),
        ("decay", phase.decay),
    ):
        if isinstance(value, int) and not isinstance(value, bool):
            whole(name, value, least=0)
        else:
            fraction(name, value, below_one=True)
    positive("power", phase.power)
    whole("cycles", phase.cycles)
    fraction("final", phase.final)
    fraction("pct_start", phase.pct_start, below_one=True)
    if positive("div_factor", phase.div_factor) < 1 or positive("final_div_factor", phase.final_div_factor) < 1:
        raise ConfigError("div_factor and final_div_factor are numbers of at least 1.")
    if phase.momentum is not None:
        pair = phase.momentum
        if not isinstance(pair, (list, tuple)) or len(pair) != 2:
            raise ConfigError(f"momentum is a pair such as [0.95, 0.85], or null; got {pair!r}.")
        numbers = tuple(fraction("momentum", one, below_one=True) for one in pair)
        object.__setattr__(phase, "momentum", numbers)
    if not isinstance(phase.restore_best, bool):
        raise ConfigError(f"restore_best must be true or false; got {phase.restore_best!r}.")


def _check_ends(phase: Phase) -> None:
    if phase.steps is not None:
        whole("steps", phase.steps)
    if phase.epochs is not None:
        positive("epochs", phase.epochs)
    if phase.fraction is not None:
        fraction("fraction", phase.fraction)
    for name, kind in (("plateau", Plateau), ("draw", Draw)):
        value = getattr(phase, name)
        if value is not None and not isinstance(value, kind):
            raise ConfigError(f"{name} takes {listing([one.name for one in fields(kind)])}; got {value!r}.")


def _each(name: str, value: Any) -> list[Any]:
    """The values of a field that takes one, or one per selector.

    Raises:
        ConfigError: A mapping without selectors.
    """
    if not isinstance(value, Mapping):
        return [value]
    if not value or not all(isinstance(key, str) for key in value):
        raise ConfigError(
            f"{name} of a phase is one for all layers, or a mapping such as {{'backbone': …, '*': …}}; got {value!r}."
        )
    return list(value.values())


def _choice(name: str, value: object, allowed: Sequence[str]) -> None:
    if not isinstance(value, str) or value not in allowed:
        raise ConfigError(
            f"Unknown {name} {value!r} of a phase; choices are {listing(allowed)}.{did_you_mean(value, allowed)}"
        )


def _by_selector(name: str, value: Any) -> dict[str, float]:
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise ConfigError(f"{name} of a phase has numbers by selector, such as {{'head': 1.0}}; got {value!r}.")
    return {key: not_negative(name, number, key) for key, number in value.items()}
