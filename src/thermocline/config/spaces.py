"""Spaces: values of an option that a search chooses from, written as a text such as `loguniform(1e-5, 1e-3)`."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from thermocline.errors import ConfigError, did_you_mean

from .keys import Key
from .values import convert, parse, split_list

EXAMPLES = {
    "choice": "choice(a, b)",
    "uniform": "uniform(0, 0.2) or uniform(0, 0.2, step=0.05)",
    "loguniform": "loguniform(1e-5, 1e-3)",
    "int": "int(2, 6) or int(2, 6, step=2)",
}
"""The kinds of space there are, each with how it is written."""

SEARCH = "search: "
"""What the origin of a value that a search chose starts with."""

_CALL = re.compile(r"([A-Za-z_]\w*)\s*\((.*)\)", re.DOTALL)
_STEP = re.compile(r"step\s*=\s*(.*)")
_OTHER_NAMES = {"categorical": "choice", "randint": "int", "log_uniform": "loguniform", "quniform": "uniform"}
_CLOSE = 0.8


@dataclass(frozen=True)
class Space:
    """The values of one option that a search chooses from.

    Attributes:
        key: The option.
        text: How it was written.
        kind: `choice`, `uniform`, `loguniform` or `int`.
        choices: Of `choice`: each value by the text that stands for it.
        low: Of the others: the least value, which is one of the space.
        high: The largest value, which is one of the space.
        step: What is between two values of `uniform` or `int`; None for no such grid, in `int` for 1.
    """

    key: Key
    text: str
    kind: str
    choices: Mapping[str, Any] = field(default_factory=dict)
    low: float = 0.0
    high: float = 0.0
    step: float | None = None

    def __str__(self) -> str:
        return self.text

    def value(self, drawn: Any) -> Any:
        """Return the option's value for what was drawn: a number, or the text of a choice.

        Raises:
            ConfigError: The option does not take it.
        """
        return self.choices[drawn] if self.kind == "choice" else convert(self.key, drawn)

    def nearest(self, value: Any) -> Any:
        """Return what stands for the value of the space that is nearest to a value of the option.

        Args:
            value: Any value that the option takes.

        Returns:
            The text of a choice (the first one, where none has this value) or a number (the middle of the space, where
            the value is none).
        """
        if self.kind == "choice":
            same = [text for text, one in self.choices.items() if one == value and type(one) is type(value)]
            return same[0] if same else next(iter(self.choices))
        if isinstance(value, bool) or not isinstance(value, int | float):
            logs = self.kind == "loguniform"
            value = math.sqrt(self.low * self.high) if logs else (self.low + self.high) / 2
        value = min(max(value, self.low), self.high)
        step = self.step or (1 if self.kind == "int" else None)
        if step is not None:
            most = math.floor((self.high - self.low) / step + 1e-9)
            value = self.low + min(round((value - self.low) / step), most) * step
        return int(value) if self.kind == "int" else float(value)


@dataclass(frozen=True)
class Drawn:
    """What a search has chosen for one trial.

    Attributes:
        name: The trial, such as `trial 3`.
        values: Dotted name → value. An option whose space has no value here is left out, as if it had not been set.
    """

    name: str
    values: Mapping[str, Any] = field(default_factory=dict)


def read_space(key: Key, given: object) -> Space | None:
    """Return the space that a value stands for, or None where it is an ordinary value.

    Args:
        key: The option.
        given: What was given for it.

    Raises:
        ConfigError: It is meant as a space and is none, or none of this option; the message says what is wrong.
    """
    found = _CALL.fullmatch(given.strip()) if isinstance(given, str) else None
    if found is None:
        return None
    text, kind, inside = found[0], found[1], found[2]
    if kind not in EXAMPLES:
        _check_name(key, text, kind)
        return None
    if not key.varies:
        raise ConfigError(
            f"{key.path}: {text!r} is a space, and this option cannot vary in a search: it is not about what is "
            "trained or how, or trials with different values of it could not be compared. Give a value."
        )
    try:
        return _choice(key, text, inside) if kind == "choice" else _numbers(key, text, kind, inside)
    except ConfigError as error:
        raise ConfigError(f"{key.path}: the space {text!r} cannot be used: {error}") from None


def _check_name(key: Key, text: str, kind: str) -> None:
    """Raise where a text can only be meant as a space, or is nearly one."""
    meant = _OTHER_NAMES.get(kind.lower()) or (kind.lower() if kind.lower() in EXAMPLES else "")
    near = f" Did you mean {meant!r}?" if meant else did_you_mean(kind, EXAMPLES, limit=1)
    is_text = key.structured or (str in key.types and not key.choices)
    if is_text and not near:
        return
    forms = ", ".join(EXAMPLES.values())
    raise ConfigError(f"{key.path}: {text!r} is no space that is known.{near} Spaces are {forms}.")


def _choice(key: Key, text: str, inside: str) -> Space:
    choices = {one: parse(key, one) for one in split_list(inside)}
    different: list[Any] = []
    for value in choices.values():
        if not any(value == one and type(value) is type(one) for one in different):
            different.append(value)
    if len(different) < len(choices) or len(different) < 2:
        raise ConfigError(
            "it takes two different values or more, such as choice(a, b). For one, give the value itself."
        )
    return Space(key, text, "choice", choices)


def _numbers(key: Key, text: str, kind: str, inside: str) -> Space:
    _check_takes_numbers(key, kind)
    parts = split_list(inside)
    step = _STEP.fullmatch(parts[-1]) if parts else None
    bounds = parts[:-1] if step else parts
    if len(bounds) != 2 or (step and kind == "loguniform"):
        raise ConfigError(
            f"it takes two bounds{'' if kind == 'loguniform' else ' and perhaps a step'}: {EXAMPLES[kind]}."
        )
    low, high = (_number(one, kind) for one in bounds)
    if low > high:
        raise ConfigError(f"its bounds are reversed: {low:g} is above {high:g}. The lower one comes first.")
    if low == high:
        raise ConfigError("its bounds are the same. Give the value itself.")
    if kind == "loguniform" and low <= 0:
        raise ConfigError(f"both bounds of loguniform are above 0, and {low:g} is not. uniform takes any numbers.")
    for bound in (low, high):
        convert(key, bound)
    return Space(key, text, kind, low=low, high=high, step=_step_of(step[1], kind, high - low) if step else None)


def _check_takes_numbers(key: Key, kind: str) -> None:
    if key.structured or not key.types & {int, float} or (kind != "int" and key.many):
        raise ConfigError(f"{kind} gives numbers, and the option takes {key.allowed}. Write choice(…) with its values.")
    if kind != "int" and float not in key.types:
        raise ConfigError(f"{kind} gives any numbers, and the option takes {key.allowed}. Write {EXAMPLES['int']}.")


def _number(text: str, kind: str) -> float:
    try:
        number = int(text) if kind == "int" else float(text)
    except ValueError:
        what = "a whole number" if kind == "int" else "a number"
        raise ConfigError(f"{text!r} is not {what}. It is written {EXAMPLES[kind]}.") from None
    if not math.isfinite(number):
        raise ConfigError(f"{text!r} is not finite.")
    return number


def _step_of(text: str, kind: str, width: float) -> float:
    step = _number(text, kind)
    if not 0 < step <= width:
        raise ConfigError(f"its step is above 0 and no wider than the space, {width:g}; got {step:g}.")
    return step
