"""What a user may hand over as `hyperparameters`, in any form, as one flat mapping of checked values."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from thermocline.errors import ConfigError

from .companions import laid_over
from .documents import read_yaml
from .flow_text import is_flow, parse_flow
from .foreign import foreign_key
from .joined import Schema
from .spaces import Space, read_space
from .values import convert, parse

Hyperparameters: TypeAlias = Mapping[str, Any] | str | os.PathLike[str] | list[Any] | tuple[Any, ...] | None
"""A mapping (dotted, nested or both), `"key=value"`, a path to a YAML file, or a list of such."""

BY_HAND, FILE = "user", "file:"
"""The origin of a value that was written by hand, and what the origin of one from a file starts with."""

_ASSIGNMENT = re.compile(r"\s*([A-Za-z_][\w.\-]*)\s*=(.*)", re.DOTALL)
_ABOUT_A_FILE = ("purpose", "why", "presets", "provenance")


@dataclass(frozen=True)
class Overrides:
    """Hyperparameters, read.

    Attributes:
        values: Checked values by dotted name; a `Space` where a search is to choose.
        origins: For each of them `user` (written by hand) or `file:NAME`.
        faults: A line for everything that is wrong.
    """

    values: dict[str, Any] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Entry:
    """One option as it was given: by hand, or in a file, as text of `key=value` or as an object."""

    path: str
    value: Any
    file: Path | None = None
    is_text: bool = False

    @property
    def where(self) -> str:
        """The beginning of a fault."""
        return "" if self.file is None else f"{self.file}: "


def read_overrides(given: Hyperparameters, schema: Schema) -> Overrides:
    """Read hyperparameters in any of their forms; faults are collected, not raised.

    What is written by hand goes before what a file says, and a later file before an earlier one. Written
    twice by hand, or twice in one file, with two values, is a fault.

    Args:
        given: The hyperparameters.
        schema: The options there are.
    """
    read = Overrides()
    sources: dict[Path | None, dict[str, Any]] = {}
    for entry in _by_selector(_entries(given, schema, read.faults), schema, read.faults):
        path, own = entry.path, sources.setdefault(entry.file, {})
        try:
            value = _checked(entry, schema)
        except ConfigError as error:
            read.faults.append(f"{entry.where}{error}")
            continue
        if path in own and own[path] != value:
            read.faults.append(f"{entry.where}{path} is given twice: {own[path]!r} and {value!r}.")
        else:
            own[path] = value
    by_hand = sources.pop(None, {})
    for file, values in (*sources.items(), (None, by_hand)):
        settled = laid_over(read.values, values)
        origin = BY_HAND if file is None else f"{FILE}{file.name}"
        origins = read.origins | dict.fromkeys(values, origin)
        read = Overrides(settled, {name: origins[name] for name in settled}, read.faults)
    return read


def check_values(content: Mapping[str, Any], where: str, schema: Schema) -> dict[str, Any]:
    """Return the options of a mapping by dotted name, checked.

    Args:
        content: Nested or dotted options.
        where: What holds them, for the error.
        schema: The options there are.

    Raises:
        ConfigError: Unknown options, or values that do not fit; all of them in one error.
    """
    read = read_overrides(content, schema)
    spaces = [
        f"{path}: {str(value)!r} is a space. Spaces are for hyperparameters, in fit(…, search=…); give a value here."
        for path, value in read.values.items()
        if isinstance(value, Space)
    ]
    raise_faults([f"{where}: {fault}" for fault in [*read.faults, *spaces]], where)
    return read.values


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


def _checked(entry: _Entry, schema: Schema) -> Any:
    key = schema.keys.get(entry.path)
    if key is None:
        raise ConfigError(_unknown(entry.path, schema))
    space = read_space(key, entry.value)
    if space is not None:
        return space
    return parse(key, entry.value) if entry.is_text else convert(key, entry.value)


def _unknown(path: str, schema: Schema) -> str:
    """Return a line about a name that is no option: a section, another trainer's, or a misspelling."""
    renamed = foreign_key(path, schema.keys)
    if path in schema.sections:
        inside = [name for name in schema.keys if name.startswith(f"{path}.")]
        what = f" As the option of another trainer, {renamed}" if renamed else ""
        return f"{path} is a section, not an option; it holds {', '.join(inside)}.{what}"
    if renamed:
        return f"{path}: {renamed}"
    if nearest := schema.nearest(path):
        return f"{path} is not an option. Did you mean {' or '.join(map(repr, nearest))}?"
    *front, last = schema.top
    return f"{path} is not an option. The sections are {', '.join(front)} and {last}; `thermocline options` lists all."


def _entries(given: object, schema: Schema, faults: list[str]) -> Iterator[_Entry]:
    """Yield the options of any form of hyperparameters; what has no readable form is added to the faults."""
    if given is None:
        return
    if isinstance(given, Mapping):
        yield from _flat(given, "", None, schema, faults)
    elif isinstance(given, (list, tuple)):
        for part in given:
            yield from _entries(part, schema, faults)
    elif isinstance(given, str) and (found := _ASSIGNMENT.fullmatch(given)):
        yield _Entry(found[1], found[2], is_text=True)
    elif isinstance(given, (str, os.PathLike)):
        yield from _from_file(Path(given), schema, faults)
    else:
        faults.append(
            f"hyperparameters cannot be a {type(given).__name__}: give a mapping, 'key=value' texts, "
            "a path to a YAML file, or a list of these."
        )


def _from_file(path: Path, schema: Schema, faults: list[str]) -> Iterator[_Entry]:
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
    yield from _flat(options, "", path, schema, faults)


def _flat(
    content: Mapping[Any, Any], prefix: str, file: Path | None, schema: Schema, faults: list[str]
) -> Iterator[_Entry]:
    """Yield the leaves of a nested mapping whose keys may be dotted; empty sections yield nothing."""
    for name, value in content.items():
        if not isinstance(name, str):
            where = "" if file is None else f"{file}: "
            faults.append(f"{where}{prefix}{name!r} is not a text, so it cannot name an option.")
            continue
        path = prefix + name.strip()
        if isinstance(value, Mapping) and (value or path in schema.sections) and not _takes_mapping(path, schema):
            yield from _flat(value, f"{path}.", file, schema, faults)
        elif value is not None or path not in schema.sections:
            yield _Entry(path, value, file)


def _takes_mapping(path: str, schema: Schema) -> bool:
    return path in schema.keys and (schema.keys[path].structured or bool(schema.keys[path].by_selector))


def _by_selector(entries: Iterable[_Entry], schema: Schema, faults: list[str]) -> Iterator[_Entry]:
    """Yield entries, mappings by selector as an entry of the option that holds them, and one for the value of `"*"`."""
    for entry in entries:
        key = schema.keys.get(entry.path)
        value = entry.value
        try:
            if key is not None and key.by_selector and entry.is_text and is_flow(value.strip()):
                value = parse_flow(value)
        except ConfigError as error:
            faults.append(f"{entry.path}: {error}")
            continue
        if key is None or not key.by_selector or not isinstance(value, Mapping):
            yield entry
            continue
        own = {selector: one for selector, one in value.items() if selector != "*"}
        if value.get("*") == 0:
            faults.append(_frozen_base(entry.path))
        elif "*" in value:
            yield _Entry(entry.path, value["*"], entry.file)
        if own or not value:
            yield _Entry(key.by_selector, own, entry.file)


def _frozen_base(path: str) -> str:
    return (
        f"{path}: the rate of '*' is what all layers without a rate of their own follow, so it is above 0; got 0. Give "
        "0 to the layers that are to be frozen, such as {'backbone': 0, 'head': 1e-3}, or set model.frozen_layers."
    )
