"""A dataclass of options as a flat table: one `Key` per dotted name."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Literal

from .option import Conditions


@dataclass(frozen=True)
class Key:
    """One option.

    Attributes:
        path: Its dotted name, such as `optim.lr`.
        types: The plain types it takes, without `None`.
        choices: What it may be, where that is a fixed list.
        optional: Whether it may be null.
        many: Whether it takes several values.
        default: Its value where nobody says otherwise.
        doc: One line of what it does.
        above: Lower limit that is not allowed itself.
        at_least: Lower limit that is allowed.
        below: Upper limit that is not allowed itself.
        at_most: Upper limit that is allowed.
        only_with: Other options, and the values of them with which this one is read.
        not_with: Other options, and the values of them with which this one is not read.
        varies: Whether a search may choose its value.
        own: What it takes besides, where it is set in Python: an object, which is recorded by its name.
        by_selector: The option that holds values of this one by layer selector; empty where there is none.
        example: A value to show how it is written; None: the default shows it.
    """

    path: str
    types: frozenset[type]
    choices: tuple[str, ...]
    optional: bool
    many: bool
    default: Any
    doc: str
    above: float | None = None
    at_least: float | None = None
    below: float | None = None
    at_most: float | None = None
    only_with: Conditions = ()
    not_with: Conditions = ()
    varies: bool = True
    own: str = ""
    by_selector: str = ""
    example: Any = None

    @property
    def structured(self) -> bool:
        """Whether it takes lists and mappings; `structures.py` brings them to plain Python."""
        return object in self.types

    @property
    def name(self) -> str:
        """The last segment of the dotted name."""
        return self.path.rpartition(".")[2]

    @property
    def allowed(self) -> str:
        """What the option takes, in words."""
        if self.structured:
            words = "a text, a list or a mapping"
        elif self.choices:
            words = _listed(self.choices)
            words = f"a list of any of {words}" if self.many else words
            words = f"{words} or a number{self._range()}" if float in self.types else words
        elif self.many:
            words = "a layer selector, a whole number, or a list of these" if int in self.types else "a list of texts"
        elif bool in self.types:
            words = "true or false"
        elif str in self.types:
            words = "a text that is not empty, without NUL and of at most 4,096 letters"
        else:
            words = ("a number" if float in self.types else "a whole number") + self._range()
        words = f"{words}, or in Python {self.own}" if self.own else words
        return f"{words}, or null" if self.optional else words

    def _range(self) -> str:
        limits = [("above", self.above), ("of at least", self.at_least)]
        limits += [("below", self.below), ("of at most", self.at_most)]
        words = [f"{word} {_shown(limit)}" for word, limit in limits if limit is not None]
        return " " + " and ".join(words) if words else ""

    def holds(self, number: float) -> bool:
        """Whether a number is within the range; NaN and infinity never are."""
        return (
            abs(number) < float("inf")
            and (self.above is None or number > self.above)
            and (self.at_least is None or number >= self.at_least)
            and (self.below is None or number < self.below)
            and (self.at_most is None or number <= self.at_most)
        )


def _shown(limit: float) -> str:
    return f"{limit:,.0f}" if float(limit).is_integer() else f"{limit:g}"


def _listed(choices: tuple[str, ...]) -> str:
    """Return the quoted choices, such as `'a', 'b' or 'c'`."""
    *front, last = [repr(choice) for choice in choices]
    return f"{', '.join(front)} or {last}" if front else last


def _shape(hint: Any) -> tuple[set[type], tuple[str, ...], bool, bool]:
    """Take a type hint apart.

    Args:
        hint: A resolved hint: a plain type, a `Literal`, a homogeneous tuple, or a union of these.

    Returns:
        The plain types, the choices, whether `None` is allowed, whether there may be several.
    """
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return {object}, (), True, False
    if hint is types.NoneType:
        return set(), (), True, False
    if origin is Literal:
        return {str}, inner, False, False
    if origin is tuple:
        kinds, choices, optional, _ = _shape(inner[0])
        return kinds, choices, optional, True
    if origin in (typing.Union, types.UnionType):
        parts = [_shape(part) for part in inner]
        choices = tuple(choice for part in parts for choice in part[1])
        kinds = set[type]().union(*(part[0] for part in parts))
        return kinds, choices, any(part[2] for part in parts), any(part[3] for part in parts)
    return {hint}, (), False, False


def keys_of(section: Any, prefix: str = "") -> Iterator[Key]:
    """Yield all options of an instance of a dataclass, those of nested dataclasses by their dotted names.

    Args:
        section: The instance; its values are the defaults.
        prefix: What comes before the names, such as `model.`.
    """
    hints = typing.get_type_hints(type(section))
    for item in fields(section):
        value = getattr(section, item.name)
        path = prefix + item.name
        if is_dataclass(value):
            yield from keys_of(value, f"{path}.")
        else:
            plain, choices, optional, many = _shape(hints[item.name])
            yield Key(path, frozenset(plain), choices, optional, many, value, **item.metadata)
