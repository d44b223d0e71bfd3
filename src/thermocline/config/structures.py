"""Options that are lists and mappings, brought to plain Python; what they mean is read where they are used."""

from __future__ import annotations

import ast
import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from thermocline.errors import ConfigError

from .documents import read_yaml
from .flow_text import flow_value, is_flow

LONGEST_TEXT = 4096
ARGUMENTS = ("optim.optimizer_args", "optim.lr_schedule_args")
"""Options that are arguments by name."""
MAPPINGS = (*ARGUMENTS, "optim.class_weights")
"""Options that are mappings, which a text may hold."""


def structured(path: str, value: object) -> Any:
    """Return an option's value as plain lists, mappings, texts and numbers; a file is read.

    Args:
        path: The option's dotted name.
        value: What was given: for `optim.phases` perhaps the path of a YAML or JSON file with `phases:` at its top.

    Raises:
        ConfigError: A value that YAML could not hold, or a file that cannot be read.
    """
    if isinstance(value, str) and (len(value) > LONGEST_TEXT or "\0" in value or not value.strip()):
        raise ConfigError(
            f"{path}: a text is not empty, without NUL and of at most {LONGEST_TEXT:,} letters; got {value[:50]!r}."
        )
    if path == "optim.phases" and isinstance(value, str):
        return structured(path, read_phase_file(value))
    if path in MAPPINGS and isinstance(value, str) and is_flow(value.strip()):
        return structured(path, flow_value(path, value))
    if value is None:
        return None
    if path in ARGUMENTS:
        return _arguments(path, value)
    if isinstance(value, (list, tuple, Mapping)) and not value:
        raise ConfigError(f"{path}: {value!r} is empty. Leave it out, or set it to null.")
    plain = _plain(path, value)
    if not isinstance(plain, (str, list, dict)):
        raise ConfigError(f"{path}: {value!r} is not allowed; it takes a text, a list or a mapping, or null.")
    return plain


def _arguments(path: str, value: object) -> dict[str, Any] | None:
    """Return arguments by name: a mapping, or such a text as `power=2, final=0.1`. None are null."""
    if isinstance(value, str):
        value = _keywords(value)
    plain = _plain(path, value) if isinstance(value, Mapping) else None
    if plain is None or not all(isinstance(key, str) for key in plain):
        raise ConfigError(
            f"{path}: {value!r} is not allowed; it takes a mapping such as {{'power': 2}}, or a text such as "
            "'power=2, final=0.1', or null."
        )
    return plain or None


def _keywords(text: str) -> object:
    """Read `name=value, …` or `{'name': value}`; values are literals. Anything else is returned as it is."""
    try:
        if text.lstrip().startswith("{"):
            return ast.literal_eval(text.strip())
        call = ast.parse(f"_({text})", mode="eval").body
        if not isinstance(call, ast.Call) or call.args or any(one.arg is None for one in call.keywords):
            return text
        return {str(one.arg): ast.literal_eval(one.value) for one in call.keywords}
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        return text


def read_phase_file(file: str) -> Any:
    """Return what stands under `phases` in a YAML or JSON file.

    Raises:
        ConfigError: No such file, not YAML, or without phases.
    """
    content = read_yaml(Path(file), f"the file of phases {file!r}")
    if set(content) != {"phases"}:
        raise ConfigError(
            f"The file of phases {file!r} has 'phases' at its top and nothing else; it has {sorted(content)}. "
            "`thermocline explain … --write-phases FILE` writes one."
        )
    return content["phases"]


def _plain(path: str, value: object) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        given = dataclasses.asdict(value)  # what stands at its default was not set
        value = {one.name: given[one.name] for one in dataclasses.fields(value) if _is_set(one, value)}
    if isinstance(value, Mapping):
        keys = [key.item() if type(key).__module__ == "numpy" else key for key in value]
        if not all(isinstance(key, (str, int, float)) for key in keys):
            raise ConfigError(f"{path}: the keys of a mapping are texts or numbers; got {list(value)!r}.")
        return {key: _plain(path, one) for key, one in zip(keys, value.values(), strict=True)}
    if isinstance(value, (list, tuple)):
        return [_plain(path, one) for one in value]
    if type(value).__module__ == "numpy" and hasattr(value, "tolist"):
        return _plain(path, value.tolist())
    if isinstance(value, str) and ("${" in value or value == "???"):
        raise ConfigError(f"{path}: {value!r} is not looked up here; write the value itself.")
    if value is None or isinstance(value, (str, bool, int)) or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise ConfigError(f"{path}: {value!r} is not allowed; it takes texts, finite numbers, lists and mappings.")


def _is_set(one: dataclasses.Field[Any], value: Any) -> bool:
    made = one.default_factory() if one.default_factory is not dataclasses.MISSING else one.default
    return made is dataclasses.MISSING or bool(getattr(value, one.name) != made)
