"""The losses there are, by name: what a row's outputs cost."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from thermocline.config import is_recorded
from thermocline.errors import ConfigError, did_you_mean, listing
from thermocline.registry.metrics import short

CLASSES = ("binary", "multiclass", "multilabel")


@dataclass(frozen=True)
class Form:
    """A loss by name, before its numbers are known.

    Attributes:
        problem_types: The problem types that it is for.
        numbers: The names of its numbers, and their values where none are given.
        low: Each number is above this, or this where `includes_low`.
        high: Each number is below this.
        several: Whether it takes any count of numbers above one, in order.
        includes_low: Whether `low` itself is allowed.
    """

    problem_types: tuple[str, ...]
    numbers: tuple[tuple[str, float | None], ...] = ()
    low: float = 0.0
    high: float = float("inf")
    several: bool = False
    includes_low: bool = False


FORMS: dict[str, Form] = {
    "cross_entropy": Form(CLASSES),
    "focal": Form(CLASSES, (("gamma", 2.0),), high=100.0, includes_low=True),
    "asymmetric": Form(
        ("multilabel",), (("gamma_negative", 4.0), ("gamma_positive", 1.0)), high=100.0, includes_low=True
    ),
    "mse": Form(("regression",)),
    "mae": Form(("regression",)),
    "huber": Form(("regression",), (("delta", 1.0),), high=1e6),
    "quantile": Form(("regression",), (("level", None),), high=1.0),
    "quantiles": Form(("regression",), (("levels", None),), high=1.0, several=True),
}
"""Focal: Lin et al., ICCV 2017. Asymmetric: Ridnik et al., ICCV 2021. Huber 1964. Quantile: Koenker and Bassett
1978."""

DEFAULTS = {**dict.fromkeys(CLASSES, "cross_entropy"), "regression": "mse"}

ALIASES = {
    "ce": "cross_entropy",
    "nll": "cross_entropy",
    "log_loss": "cross_entropy",
    "bce": "cross_entropy",
    "binary_cross_entropy": "cross_entropy",
    "focal_loss": "focal",
    "asl": "asymmetric",
    "asymmetric_loss": "asymmetric",
    "l2": "mse",
    "squared_error": "mse",
    "mean_squared_error": "mse",
    "l1": "mae",
    "absolute_error": "mae",
    "mean_absolute_error": "mae",
    "smooth_l1": "huber",
    "huber_loss": "huber",
    "pinball": "quantile",
    "quantile_loss": "quantile",
}

_WRITTEN = re.compile(r"\s*([A-Za-z][\w\-]*)\s*(?::\s*(?P<plain>[^()]*)|\((?P<called>[^()]*)\))?\s*")
MOST_LEVELS = 99


@dataclass(frozen=True)
class Loss:
    """A loss.

    Attributes:
        name: As in `FORMS`; or that of a function of the caller's own, as `config.own` records it.
        numbers: Its numbers.
        function: `(outputs, targets, weights) -> losses (rows,)`; None where the loss has a name, and in a saved
            predictor.
    """

    name: str
    numbers: tuple[float, ...] = ()
    function: Callable[..., Any] | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        return f"{self.name}:{','.join(map(short, self.numbers))}" if self.numbers else self.name

    def __deepcopy__(self, memo: Any) -> Loss:
        return self  # a function is not copied

    def __reduce__(self) -> tuple[Any, ...]:
        return Loss, (self.name, self.numbers)  # nor pickled: it is not needed to predict

    @property
    def own(self) -> bool:
        """Whether it is a function of the caller's own."""
        return self.name not in FORMS

    @property
    def levels(self) -> tuple[float, ...]:
        """The levels of the quantiles that are learnt, ascending; empty where others things are."""
        return self.numbers if self.name in ("quantile", "quantiles") else ()

    @property
    def metric(self) -> str:
        """The metric that validation goes by where none is given; empty for that of the problem type."""
        if self.name == "quantile":
            return f"pinball:{short(self.numbers[0])}"
        return {"quantiles": "pinball", "mae": "mae", "huber": "mae"}.get(self.name, "")

    @property
    def grows_trees(self) -> str:
        """The loss of scikit-learn's boosted trees that is the same; empty where they have none."""
        return {"mae": "absolute_error", "quantile": "quantile", "mse": "squared_error"}.get(self.name, "")


def read_loss(text: str, function: Any = None) -> Loss:
    """Return the loss that a value of `optim.loss` means.

    Args:
        text: A name, with numbers behind a colon or in brackets: `focal`, `focal:2`, `quantiles(0.05, 0.5, 0.95)`.
        function: The caller's own, whose name the text is then.

    Raises:
        ConfigError: There is no such loss, or its numbers are others; a function that was not handed in.
    """
    if isinstance(function, type):
        raise ConfigError(
            f"optim.loss: {function.__name__} is a class. Give an object of it, {function.__name__}(), or a function."
        )
    if function is not None:
        return Loss(text, function=function)
    found = _WRITTEN.fullmatch(text)
    name = found[1].lower().replace("-", "_") if found else text
    name = ALIASES.get(name, name)
    if name not in FORMS and is_recorded(text):
        raise ConfigError(
            f"optim.loss: {text!r} names a function, which is handed in from Python: "
            "hyperparameters={'optim.loss': my_loss}. A file or the command line take a loss by name: "
            f"{listing(FORMS)}."
        )
    if found is None or name not in FORMS:
        raise ConfigError(
            f"optim.loss: {text!r} is no loss.{did_you_mean(name, [*FORMS, *ALIASES])} For classes: "
            f"{listing(_of('binary'))}, and for several labels 'asymmetric'; for numbers: "
            f"{listing(_of('regression'))}. A function (outputs, targets, weights) -> loss of each row is handed in "
            "from Python: "
            "hyperparameters={'optim.loss': my_loss}."
        )
    inside = found["plain"] if found["plain"] is not None else found["called"]
    return Loss(name, _numbers(name, inside or "", text))


def saved_loss(text: str) -> Loss:
    """Return a loss that was saved, without a function where it was one of the caller's own."""
    return read_loss(text) if text.partition(":")[0] in FORMS else Loss(text)


def check_fits(loss: Loss, problem_type: str) -> None:
    """Check that a loss is for a problem type.

    Raises:
        ConfigError: It is for another.
    """
    if not loss.own and problem_type not in FORMS[loss.name].problem_types:
        fitting = [name for name, form in FORMS.items() if problem_type in form.problem_types]
        raise ConfigError(
            f"optim.loss: {str(loss)!r} is for {' and '.join(FORMS[loss.name].problem_types)} problems, and this one "
            f"is {problem_type}. Losses for it: {listing(fitting)}. If the problem type is wrong, pass problem_type=..."
        )


def _of(problem_type: str) -> list[str]:
    return [name for name, form in FORMS.items() if problem_type in form.problem_types]


def _numbers(name: str, inside: str, text: str) -> tuple[float, ...]:
    """Return the numbers of a loss as they were written, the defaults where none are."""
    form = FORMS[name]
    names = [one for one, _ in form.numbers]
    parts = [one.strip() for one in inside.split(",") if one.strip()]
    given: dict[str, str] = {}
    for place, part in enumerate(parts):
        key, _, value = part.rpartition("=")
        key = key.strip() or (f"{place}" if form.several else names[place] if place < len(names) else "?")
        given[key] = value.strip() if key not in given else "?"
    defaults = {one: number for one, number in form.numbers if number is not None}
    if form.several:
        values = [_number(form, one) for one in given.values()]
        good = 2 <= len(values) <= MOST_LEVELS and None not in values and len(set(values)) == len(values)
        if good and not set(given) - {str(place) for place in range(len(parts))}:
            return tuple(sorted(one for one in values if one is not None))
    else:
        found = [_number(form, given[one]) if one in given else defaults.get(one) for one in names]
        if None not in found and set(given) <= set(names):
            return tuple(one for one in found if one is not None)
    raise ConfigError(f"optim.loss: {text!r} is not allowed; {_allowed(name, form)}")


def _number(form: Form, text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if form.low < number < form.high or (form.includes_low and number == form.low) else None


def _allowed(name: str, form: Form) -> str:
    if not form.numbers:
        return f"{name} takes no number."
    if form.several:
        return f"{name} takes 2 to {MOST_LEVELS} different levels above 0 and below 1, such as '{name}:0.05,0.5,0.95'."
    default = ",".join("0.9" if number is None else f"{number:g}" for _, number in form.numbers)
    at = "of at least" if form.includes_low else "above"
    words = " and ".join(one for one, _ in form.numbers)
    return f"{name} takes {words}, {at} {form.low:g} and below {form.high:g}, such as '{name}:{default}'."
