"""A saved configuration, read where fewer kinds are installed than where it was written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from thermocline.errors import ConfigError, listing

from .joined import Schema


def without_absent_kinds(content: Mapping[str, Any], provenance: Mapping[Any, Any], schema: Schema) -> dict[str, Any]:
    """Return a saved configuration without sections that the schema does not have.

    A predictor does not need the options of a kind that it is not of; they are at their defaults then.

    Args:
        content: Nested options.
        provenance: Dotted name → origin, of values that are not the default.
        schema: The options there are.

    Raises:
        ConfigError: Options in such a section were set.
    """
    absent: list[str] = []
    kept = _split(content, "", schema, absent)
    was_set = [str(name) for name in provenance if any(str(name).startswith(f"{section}.") for section in absent)]
    if was_set:
        raise ConfigError(
            f"the saved configuration has options of a kind of problem or input that is not installed: "
            f"{listing(was_set)}. Install the package that brings it, or pass the problem that it was fitted with: "
            "Predictor.load(path, problem=...)."
        )
    return kept


def _split(content: Mapping[str, Any], prefix: str, schema: Schema, absent: list[str]) -> dict[str, Any]:
    """Return the mapping without its unknown sections, and add their names to `absent`."""
    kept: dict[str, Any] = {}
    for name, value in content.items():
        path = f"{prefix}{name}"
        if not isinstance(value, Mapping) or path in schema.keys:
            kept[name] = value
        elif path in schema.sections:
            kept[name] = _split(value, f"{path}.", schema, absent)
        else:
            absent.append(path)
    return kept
