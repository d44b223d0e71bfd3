"""Lists and mappings behind `key=`, as on a command line: `{backbone: 1e-5}`, `[{parameters: "*.bias"}]`."""

from __future__ import annotations

import re
from typing import Any

from thermocline.errors import ConfigError

_DEEPEST = 20


def is_flow(text: str) -> bool:
    """Whether a text is a list or a mapping."""
    return text[:1] + text[-1:] in ("{}", "[]")


def parse_flow(text: str, *, depth: int = 0) -> Any:
    """Return the list or mapping that a text holds; anything else is a number, true, false, null or a text.

    The blanks of YAML may be left out: `{backbone:1e-5}`. A colon within a key is not one before a value where a
    later one is, or where one has a blank behind it; texts with commas or brackets are quoted.

    Raises:
        ConfigError: A part of a mapping has no colon, a key is given twice, or it is nested too deeply.
    """
    text = text.strip()
    if depth > _DEEPEST:
        raise ConfigError(f"{text[:40]!r} is nested too deeply.")
    if not is_flow(text):
        return _scalar(text)
    parts = _split(text[1:-1])
    if text[0] == "[":
        return [parse_flow(part, depth=depth + 1) for part in parts]
    made: dict[str | int, Any] = {}
    for part in parts:
        key, value = _pair(part)
        if key in made:
            raise ConfigError(f"{text!r} has {key!r} twice.")
        made[key] = parse_flow(value, depth=depth + 1)
    return made


def flow_value(path: str, text: str) -> Any:
    """Return the list or mapping that a text holds for an option.

    Raises:
        ConfigError: As `parse_flow`; the message begins with the option's name.
    """
    try:
        return parse_flow(text)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def _pair(part: str) -> tuple[str | int, str]:
    """The key and the value of a part: apart at the first colon with a blank behind it, or at the last one of all."""
    places = [place for place, letter in _outside(part) if letter == ":"]
    spaced = [place for place in places if part[place + 1 : place + 2].isspace()]
    if not places:
        raise ConfigError(f"{part!r} has no value; a mapping is written {{key: value, key: value}}.")
    place = spaced[0] if spaced else places[-1]
    key = part[:place].strip()
    return int(key) if re.fullmatch(r"-?\d{1,9}", key) else unquoted(key), part[place + 1 :]


def _split(text: str) -> list[str]:
    """The parts between commas that are in no bracket and no quotes."""
    parts, start = [], 0
    for place, letter in _outside(text):
        if letter == ",":
            parts.append(text[start:place])
            start = place + 1
    return [part.strip() for part in [*parts, text[start:]] if part.strip()]


def _outside(text: str) -> list[tuple[int, str]]:
    """The letters that are in no bracket and no quotes, each with its place."""
    found, depth, quote = [], 0, ""
    for place, letter in enumerate(text):
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        elif letter in "[({":
            depth += 1
        elif letter in "])}":
            depth -= 1
        elif depth == 0:
            found.append((place, letter))
    return found


def _scalar(text: str) -> Any:
    if text.lower() in ("null", "~", ""):
        return None
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return unquoted(text)


def unquoted(text: str) -> str:
    """Return a text without the quotes around it."""
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"" else text
