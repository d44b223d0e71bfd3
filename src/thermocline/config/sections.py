"""The options as they may be written in a mapping: by section, each name whole, dotted or nested."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .joined import Schema
from .keys import Key


@dataclass(frozen=True)
class Section:
    """What may stand in one section.

    Attributes:
        path: Its dotted name; empty for the top.
        keys: How each option below it is written here → the option, such as `text.max_length` in `model`.
        below: How each section below it is written here → its dotted name.
    """

    path: str
    keys: dict[str, Key]
    below: dict[str, str]


def sections_of(schema: Schema) -> Iterator[Section]:
    """Yield the top, then each section, those below before those that hold them.

    Args:
        schema: The options there are.
    """
    yield _section("", schema)
    for path in sorted(schema.sections, key=lambda path: (-path.count("."), path)):
        yield _section(path, schema)


def _section(path: str, schema: Schema) -> Section:
    start = f"{path}." if path else ""
    keys = {name.removeprefix(start): key for name, key in schema.keys.items() if name.startswith(start)}
    inside = (name for name in sorted(schema.sections) if name.startswith(start) and name != path)
    return Section(path, keys, {name.removeprefix(start): name for name in inside})
