"""Writes the types of `hyperparameters`: `python -m thermocline.config.typed_options_file typed_options.py`.

They are made from the options, so that a type checker knows each name and what it takes, and an editor completes both.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from .joined import schema_of
from .keys import Key
from .sections import Section, sections_of

FILE = Path(__file__).with_name("typed_options.py")
"""Where it is."""

_HEAD = '''"""The types of `hyperparameters`. Written by `python -m thermocline.config.typed_options_file`; do not edit.

A dict that is written out where it is handed over, or that is annotated as `thermocline.Options`, is checked key by
key: dotted names, sections and both. Other mappings pass where their values are `Any`: `dict[str, Any]`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeAlias, TypedDict

# ruff: noqa: E501, UP013
# fmt: off
Structure: TypeAlias = str | Sequence[Any] | Mapping[Any, Any] | None
"""A text, a list or a mapping."""
Selectors: TypeAlias = int | str | Sequence[int | str] | None
"""A layer selector or several."""
Rates: TypeAlias = Mapping[str, float]
"""Rates by layer selector."""


class ValueOfAnOption:
    """What no value is: a mapping to it takes values of type `Any` only, so that dicts written out are checked."""

'''

_TAIL = '''
Hyperparameters: TypeAlias = Options | Mapping[str, ValueOfAnOption] | str | os.PathLike[str] | Sequence[Any] | None
"""What `fit` takes: options, `"key=value"`, the path of a YAML file, or a list of such."""
'''


def text() -> str:
    """Return the module as Python."""
    top, *sections = sections_of(schema_of())
    parts = [_HEAD, *map(_typed_dict, sections), _typed_dict(top), _TAIL]
    return "\n".join(parts)


def _typed_dict(section: Section) -> str:
    name = _name(section.path)
    return "\n".join([f'{name} = TypedDict("{name}", {{', *_entries(section), "}, total=False)", ""])


def _entries(section: Section) -> Iterator[str]:
    for name, path in section.below.items():
        yield f'    "{name}": {_name(path)},'
    for name, key in section.keys.items():
        yield f'    "{name}": {hint(key)},'


def _name(path: str) -> str:
    return "".join(part.title() for part in path.split(".")) + "Options"


def hint(key: Key) -> str:
    """Return the type of an option's values, as it is written.

    A number that a search may choose is also a text: a space such as `loguniform(1e-5, 1e-3)`.

    Example:
        >>> hint(schema_of().keys["model.text.max_length"])
        'int | str | None'
    """
    if key.structured:
        return "Structure"
    if key.many and int in key.types:
        return "Selectors"
    kinds = []
    if key.choices:
        words = ", ".join(f'"{one}"' for one in key.choices)
        kinds.append(f"Literal[{words}]")
    if key.many:
        kinds.append(f"Sequence[{kinds[0] if kinds else 'str'}]")
    kinds += [kind.__name__ for kind in (bool, int, float) if kind in key.types]
    numbers = key.types & {int, float}
    if {"on", "off"} <= set(key.choices):
        kinds.append("bool")
    if (str in key.types and not key.choices) or (numbers and key.varies):
        kinds.append("str")
    if str in key.types and not (key.choices or numbers or key.own or key.many):
        kinds.append("os.PathLike[str]")
    if key.by_selector:
        kinds.append("Rates")
    if key.own:
        kinds.append("Callable[..., Any]")
    return " | ".join([*kinds, *(["None"] if key.optional else [])])


if __name__ == "__main__":
    Path(sys.argv[1] if len(sys.argv) > 1 else FILE).write_text(text(), encoding="utf-8")
