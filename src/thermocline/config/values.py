"""One value for one option: brought to its type, or refused with a line that says what is allowed."""

from __future__ import annotations

import numbers
import os
from typing import Any

from thermocline.errors import ConfigError, did_you_mean

from .flow_text import flow_value, is_flow, unquoted
from .foreign import foreign_value
from .keys import Key
from .own import Own, is_recorded
from .structures import LONGEST_TEXT, structured

_SAME_WORD = {"two_stages": "two_stage", "cuda:0": "cuda", "mps:0": "mps", "cpu:0": "cpu"}


def convert(key: Key, value: object) -> Any:
    """Return the value in the type of its option.

    What loses nothing is taken: a NumPy scalar, `5.0` for a whole number, `"1e-4"` for a number, a path for
    a text, one item for a list. A bool is never a number and a text is never a bool.

    Args:
        key: The option.
        value: A Python object, as a user, a preset or an artifact gives it. A class or a function for an option that
            takes one becomes an `Own`.

    Raises:
        ConfigError: The type, the choice or the range does not fit.
    """
    if key.own and callable(value):
        return Own(value)
    plain = _plain(value)
    if key.structured:
        return structured(key.path, plain)
    if plain is None:
        if not key.optional and not key.many:
            raise _refusal(key, value)
        return None if key.optional else ()
    if key.many:
        return _several(key, plain)
    return _single(key, plain)


def parse(key: Key, text: str) -> Any:
    """Return the value that the right side of `key=value` stands for.

    The option's own type decides how the text is read, so `no` is a text where a text is due. Nothing is
    read as YAML.

    Args:
        key: The option.
        text: What stands right of the equals sign; `null` is nothing, `[a, b]` a list.

    Raises:
        ConfigError: The text does not fit the option.
    """
    text = text.strip()
    if key.structured and is_flow(text):
        return convert(key, flow_value(key.path, text))
    if key.structured and text.lower() != "none":
        return convert(key, None if text.lower() in ("null", "~") else text)
    if text.lower() in ("null", "~") or (text.lower() == "none" and "none" not in key.choices):
        return convert(key, None)
    if key.many and text.startswith("[") and text.endswith("]"):
        return convert(key, [_item(key, part) for part in split_list(text[1:-1])])
    if key.many:
        return convert(key, _item(key, text))
    if bool in key.types and text.lower() in ("true", "false"):
        return text.lower() == "true"
    return convert(key, unquoted(text))


def _item(key: Key, text: str) -> int | str:
    if int in key.types:
        try:
            return int(text)
        except ValueError:
            pass
    return unquoted(text)


def split_list(text: str) -> list[str]:
    """Return the parts of a text between commas that are in no bracket and no quotes.

    Example:
        >>> split_list("embeddings, layer.[0,2], 're:a{1,2}'")
        ['embeddings', 'layer.[0,2]', "'re:a{1,2}'"]
    """
    parts, depth, quote = [""], 0, ""
    for letter in text:
        if letter in "'\"" and (letter == quote or not parts[-1].strip()):
            quote = "" if quote else letter
        elif not quote:
            depth += (letter in "[({") - (letter in "])}")
        if letter == "," and depth == 0 and not quote:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts if part.strip()]


def _plain(value: object) -> object:
    """Return NumPy scalars and arrays as Python objects, and paths and torch devices as texts."""
    if type(value).__module__ == "numpy" and hasattr(value, "tolist"):
        return value.tolist()
    if type(value).__module__ == "torch" and type(value).__name__ == "device":
        return str(value)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return value


def _several(key: Key, value: object) -> Any:
    """Return a tuple, one bare item as it is, or `None` for an empty list where null is allowed."""
    if not isinstance(value, (list, tuple)):
        item = _single(key, value)
        return item if int in key.types else (item,)
    items = tuple(_single(key, _plain(item)) for item in value)
    return items or (None if key.optional else ())


def _single(key: Key, value: object) -> Any:
    if isinstance(value, bool):
        if bool in key.types:
            return value
        word = "on" if value else "off"  # what YAML makes of these words
        if word in key.choices:
            return word
        raise _refusal(key, value)
    if isinstance(value, str):
        return _from_text(key, value)
    if isinstance(value, numbers.Real):
        return _number(key, value, given=value)
    raise _refusal(key, value)


def _from_text(key: Key, text: str) -> Any:
    if str not in key.types:
        return _number(key, _read_number(text), given=text)
    if "${" in text or text == "???":
        raise ConfigError(f"{key.path}: {text!r} is not looked up here; write the value itself.")
    if key.choices:
        word = _SAME_WORD.get(text, text)
        if word in key.choices:
            return word
        if float in key.types:
            return _number(key, _read_number(text), given=text)
        if key.own and is_recorded(text):
            return text
        raise _refusal(key, text)
    if not text.strip() or "\0" in text or len(text) > LONGEST_TEXT:
        raise _refusal(key, text)
    return text


def _read_number(text: str) -> float | int | None:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return None


def _number(key: Key, value: object, *, given: object) -> int | float:
    """Return an int or a float within range; a float that is a whole number may stand for an int."""
    if not isinstance(value, numbers.Real) or not key.types & {int, float}:
        raise _refusal(key, given)
    try:
        number = float(value)
    except OverflowError:
        raise _refusal(key, given) from None
    selector = str in key.types
    if float in key.types and key.holds(number):
        return number
    whole = isinstance(value, numbers.Integral) or (number.is_integer() and not selector)
    if int in key.types and whole and key.holds(number):
        return int(number)
    raise _refusal(key, given)


def _refusal(key: Key, value: object) -> ConfigError:
    """Return the error that says what was given and what is allowed."""
    hint = foreign_value(key.path, value)
    if not hint and isinstance(value, str):
        hint = did_you_mean(value, key.choices)
    return ConfigError(f"{key.path}: {_short(value)} is not allowed; it takes {key.allowed}.{hint}")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
