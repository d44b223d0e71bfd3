"""The command that looks options up."""

from __future__ import annotations

import argparse
import textwrap
from typing import TYPE_CHECKING, Any

from thermocline.cli.parts import OPTION, add_command, add_json, completes, json_line

if TYPE_CHECKING:
    from thermocline.config import Key

EXAMPLES = (
    "thermocline options optim.lr           # what one option does and takes\n"
    "thermocline options model.text         # all of a section\n"
    "thermocline options '*.frozen_layers'  # by a pattern\n"
    "thermocline options memory             # by a word of what they do\n"
    "thermocline options learning_rate      # by a name that others have for one"
)


def add(commands: Any) -> None:
    """Add the command."""
    options = add_command(commands, "options", "look options up: names, values, what they do", EXAMPLES)
    text = "a name, a section, a pattern, a word, or another trainer's name; all options by default"
    completes(options.add_argument("pattern", nargs="?", metavar="PATTERN", help=text), OPTION)
    instead = options.add_mutually_exclusive_group()
    add_json(instead, "what is found")
    instead.add_argument("--names", action="store_true", help="print nothing but the names")
    instead.add_argument("--schema", action="store_true", help="print a JSON schema of preset files, for editors")
    options.set_defaults(run=_options)


def _options(given: argparse.Namespace) -> None:
    from thermocline.config import json_schema, lookup
    from thermocline.report.screen import screen_width

    if given.schema:
        print(json_schema.text(), end="")
        return
    found = lookup.find_options(given.pattern)
    if given.json:
        print(json_line([_as_data(key) for key in found.keys]))
    elif given.names:
        print("\n".join(key.path for key in found.keys))
    else:
        width = min(screen_width(), 100)
        note = [*textwrap.wrap(found.note, width), ""] if found.note else []
        lines = _page(found.keys[0], width) if found.exact else _list(found.keys, width)
        print("\n".join([*note, *lines]))


def _as_data(key: Key) -> dict[str, Any]:
    from thermocline.config import lookup

    return {
        "name": key.path,
        "default": key.default,
        "allowed": key.allowed,
        "choices": key.choices or None,
        "doc": key.doc,
        "read_by": lookup.read_by(key),
        "conditions": lookup.conditions(key) or None,
        "in_a_search": key.varies,
        "example": key.example,
    }


def _list(keys: tuple[Key, ...], width: int) -> list[str]:
    """Return a few lines for each option: name, default, what it does and takes."""
    lines: list[str] = []
    for key in keys:
        takes = f"Takes {key.allowed}."
        lines += [f"{key.path} = {_shown(key.default)}", *_wrapped(key.doc, width), *_wrapped(takes, width)]
    return [*lines, "", "thermocline options NAME says more of one."]


def _page(key: Key, width: int) -> list[str]:
    """Return all there is to say of one option."""
    from thermocline.config import lookup

    read_by = "; ".join(part for part in (lookup.read_by(key), lookup.conditions(key)) if part)
    presets = ", ".join(f"{name} ({_shown(value)})" for name, value in lookup.set_by_presets(key).items())
    elsewhere = "; ".join(f"{', '.join(names)} ({of})" for of, names in lookup.called_elsewhere(key.path).items())
    facts = {
        "takes": key.allowed,
        "default": _shown(key.default),
        "read by": read_by,
        "in a search": "may vary" if key.varies else "cannot vary",
        "set by": presets and f"the presets {presets}",
        "elsewhere": elsewhere and f"called {elsewhere}",
        "example": "\n".join(lookup.example(key)).strip(),
    }
    lines = [key.path, *_wrapped(key.doc, width), ""]
    for name, text in facts.items():
        for place, part in enumerate(_pieces(text, width - 14)):
            lines.append(f"  {name if not place else '':<12}{part}")
    return lines


def _pieces(text: str, width: int) -> list[str]:
    return [piece for line in text.splitlines() for piece in textwrap.wrap(line, width, break_long_words=False)]


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, initial_indent="    ", subsequent_indent="    ", break_long_words=False)


def _shown(value: Any) -> str:
    from thermocline.config.resolved import shown

    return shown(value)
