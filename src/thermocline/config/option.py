"""One option as a field of a dataclass: default, documentation, range, and which other option it depends on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any, Literal, TypeAlias, TypeVar

T = TypeVar("T")

FrozenLayers: TypeAlias = int | str | tuple[int | str, ...] | None
"""A selector or several: a role, a number of layers, a slice, a glob, `re:…`. `tuning.layers.selectors` reads it."""

Augment: TypeAlias = Literal["none", "light", "standard", "rand_augment"]

Conditions: TypeAlias = tuple[tuple[str, tuple[Any, ...]], ...]
"""Dotted name of an option and values of it, several times."""

TOWER_FROZEN_LAYERS = "Layers of this tower that never train; joins what `model.frozen_layers` freezes."
"""Documentation of a tower's `frozen_layers`."""


def option(  # noqa: PLR0913 - public API
    default: T,
    doc: str,
    *,
    above: float | None = None,
    at_least: float | None = None,
    below: float | None = None,
    at_most: float | None = None,
    only_with: Mapping[str, Any] | None = None,
    not_with: Mapping[str, Any] | None = None,
    varies: bool = True,
    own: str = "",
    by_selector: str = "",
    example: Any = None,
) -> T:
    """Return a dataclass field for one option; to a type checker it is the default, as with `dataclasses.field`.

    Args:
        default: The value where nobody sets one; immutable.
        doc: One line of what it does, ending in a full stop.
        above: Lower limit that is not allowed itself.
        at_least: Lower limit that is allowed.
        below: Upper limit that is not allowed itself.
        at_most: Upper limit that is allowed.
        only_with: Dotted name of another option → the value, or tuple of values, with which this one is read.
        not_with: Dotted name of another option → the value, or tuple of values, with which this one is not read.
        varies: Whether a search may choose its value. Not where it says where files lie or how work is carried out, nor
            where trials with different values could not be compared.
        own: What it takes besides, where it is set in Python: an object, which is recorded by its name.
        by_selector: Dotted name of the option that holds values of this one by layer selector. A mapping that is given
            for this option goes there, but for the value of `"*"`.
        example: A value to show how it is written, where the default is none or says little.

    Example:
        >>> from dataclasses import dataclass
        >>> @dataclass(frozen=True)
        ... class TableOptions:
        ...     width: int = option(192, "Units per block.", at_least=1)
    """
    limits = {"above": above, "at_least": at_least, "below": below, "at_most": at_most}
    conditions = {"only_with": _conditions(only_with), "not_with": _conditions(not_with)}
    flags = {"varies": varies, "own": own, "by_selector": by_selector, "example": example}
    return field(default=default, metadata={"doc": doc, **limits, **conditions, **flags})


def _conditions(given: Mapping[str, Any] | None) -> Conditions:
    return tuple((name, one if isinstance(one, tuple) else (one,)) for name, one in (given or {}).items())
