"""What a user may hand over as `hyperparameters`, in any form, as one flat mapping of checked values."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from thermocline.errors import ConfigError

from .documents import read_yaml
from .foreign import foreign_key
from .keys import KEYS, SECTIONS, nearest_keys
from .values import convert, parse

Hyperparameters: TypeAlias = Mapping[str, Any] | str | os.PathLike[str] | list[Any] | tuple[Any, ...] | None
"""A mapping (dotted, nested or both), `"key=value"`, a path to a YAML file, or a list of such."""

_ASSIGNMENT = re.compile(r"\s*([A-Za-z_][\w.\-]*)\s*=(.*)", re.DOTALL)
_ABOUT_A_FILE = ("purpose", "why", "presets", "provenance")


@dataclass(frozen=True)
class _Entry:
    """One option as it was given: by hand, or in a file (`where`), as text of `key=value` or as an object."""

    path: str
    value: Any
    where: str = ""
    is_text: bool = False


def read_overrides(given: Hyperparameters) -> tuple[dict[str, Any], list[str]]:
    """Return checked values by dotted name, and a line for everything that is wrong.

    What is written by hand goes before what a file says, and a later file before an earlier one. Written
    twice by hand, or twice in one file, with two values, is a fault.

    Args:
        given: The hyperparameters in any of their forms.
    """
    faults: list[str] = []
    settled: dict[str, tuple[_Entry, Any]] = {}
    for entry in _entries(given, faults):
        try:
            value = _checked(entry)
        except ConfigError as error:
            faults.append(f"{entry.where}{error}")
            continue
        before, held = settled.get(entry.path, (None, None))
        if before and before.where == entry.where and held != value:
            faults.append(f"{entry.where}{entry.path} is given twice: {held!r} and {value!r}.")
        elif before is None or before.where or not entry.where:
            settled[entry.path] = (entry, value)
    return {path: value for path, (_, value) in settled.items()}, faults


def check_values(content: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return the options of a mapping by dotted name, checked.

    Args:
        content: Nested or dotted options.
        where: What holds them, for the error.

    Raises:
        ConfigError: Unknown options, or values that do not fit; all of them in one error.
    """
    values, faults = read_overrides(content)
    raise_faults([f"{where}: {fault}" for fault in faults], where)
    return values


def raise_faults(faults: list[str], where: str) -> None:
    """Raise one error for all faults, a line for each; no faults, no error.

    Args:
        faults: A sentence or two for each.
        where: What they were found in.

    Raises:
        ConfigError: There is at least one fault.
    """
    different = list(dict.fromkeys(faults))
    if len(different) == 1:
        raise ConfigError(different[0])
    if different:
        raise ConfigError("\n  - ".join([f"{len(different)} faults in {where}:", *different]))


def _checked(entry: _Entry) -> Any:
    key = KEYS.get(entry.path)
    if key is None:
        raise ConfigError(_unknown(entry.path))
    return parse(key, entry.value) if entry.is_text else convert(key, entry.value)


def _unknown(path: str) -> str:
    """Return a line about a name that is no option: a section, another trainer's, or a misspelling."""
    if path in SECTIONS:
        inside = [name for name in KEYS if name.startswith(f"{path}.")]
        return f"{path} is a section, not an option; it holds {', '.join(inside)}."
    if renamed := foreign_key(path):
        return f"{path}: {renamed}"
    if nearest := nearest_keys(path):
        return f"{path} is not an option. Did you mean {' or '.join(map(repr, nearest))}?"
    return f"{path} is not an option. The sections are model, optim, data and env."


def _entries(given: object, faults: list[str]) -> Iterator[_Entry]:
    """Yield the options of any form of hyperparameters; what has no readable form is added to the faults."""
    if given is None:
        return
    if isinstance(given, Mapping):
        yield from _flat(given, "", "", faults)
    elif isinstance(given, (list, tuple)):
        for part in given:
            yield from _entries(part, faults)
    elif isinstance(given, str) and (found := _ASSIGNMENT.fullmatch(given)):
        yield _Entry(found[1], found[2], is_text=True)
    elif isinstance(given, (str, os.PathLike)):
        yield from _from_file(Path(given), faults)
    else:
        faults.append(
            f"hyperparameters cannot be a {type(given).__name__}: give a mapping, 'key=value' texts, "
            "a path to a YAML file, or a list of these."
        )


def _from_file(path: Path, faults: list[str]) -> Iterator[_Entry]:
    if path.suffix not in (".yaml", ".yml"):
        faults.append(f"{str(path)!r} is neither 'key=value' nor a path that ends in .yaml or .yml.")
        return
    try:
        content = read_yaml(path, f"the hyperparameters file {str(path)!r}")
    except ConfigError as error:
        faults.append(str(error))
        return
    if "extends" in content:
        faults.append(f"{path}: a file with 'extends' is a preset; pass it as presets={str(path)!r}.")
        return
    options = {name: value for name, value in content.items() if name not in _ABOUT_A_FILE}
    yield from _flat(options, "", f"{path}: ", faults)


def _flat(content: Mapping[Any, Any], prefix: str, where: str, faults: list[str]) -> Iterator[_Entry]:
    """Yield the leaves of a nested mapping whose keys may be dotted; empty sections yield nothing."""
    for name, value in content.items():
        if not isinstance(name, str):
            faults.append(f"{where}{prefix}{name!r} is not a text, so it cannot name an option.")
            continue
        path = prefix + name.strip()
        if isinstance(value, Mapping) and not (path in KEYS and KEYS[path].structured):
            yield from _flat(value, f"{path}.", where, faults)
        elif value is not None or path not in SECTIONS:
            yield _Entry(path, value, where)
