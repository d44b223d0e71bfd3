"""Stands in for generators that are on their way."""

from __future__ import annotations

from thermocline.cli import _parser
from thermocline.config import list_presets, schema_of
from thermocline.registry import problem_infos


def options_markdown() -> str:
    """Return headings of all options."""
    return "\n\n".join(
        ["# Options", *(f"## `{path}` {{#{path}}}\n\n{key.doc}" for path, key in schema_of().keys.items())]
    )


def presets_markdown() -> str:
    """Return headings of all presets."""
    return "\n\n".join(["# Presets", *(f"## {name} {{#{name}}}" for name in list_presets()["name"])])


def metrics_markdown() -> str:
    """Return headings of all metrics."""
    return "\n\n".join(["# Metrics", *(f"## {one.name}" for info in problem_infos() for one in info.metrics)])


def commands_markdown() -> str:
    """Return headings of all commands."""
    (commands,) = (one for one in _parser()._actions if one.choices)
    return "\n\n".join(["# Command line", *(f"## thermocline {name}" for name in commands.choices or ())])
