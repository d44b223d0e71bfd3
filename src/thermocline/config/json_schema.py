"""A JSON schema of preset files, which editors complete and check by: `presets/schema.json`.

`python -m thermocline.config.json_schema presets/schema.json` writes it; `thermocline options --schema` prints it.
The form is JSON Schema 2020-12 (https://json-schema.org/draft/2020-12).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from .joined import Schema, schema_of
from .keys import Key
from .sections import Section, sections_of
from .structures import LONGEST_TEXT

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_ABOUT: dict[str, Any] = {
    "purpose": {"type": "string", "description": "One sentence on what the preset is for."},
    "extends": {
        "description": "The preset that this one builds on, or several, composed in their order.",
        "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}],
    },
    "why": {
        "description": "A reason for each choice that needs one.",
        "type": ["object", "null"],
        "additionalProperties": {"type": "string"},
    },
}


def json_schema(schema: Schema | None = None) -> dict[str, Any]:
    """Return the JSON schema of a preset file: options nested, dotted or both, with what each takes.

    Args:
        schema: The options there are; by default those of all installed kinds.

    Example:
        >>> json_schema()["$defs"]["optim.lr_decay"]["maximum"]
        1
    """
    top, *sections = sections_of(schema or schema_of())
    return {
        "$schema": _DIALECT,
        "title": "Thermocline preset",
        "description": "Options of fit, with what the file is for. `thermocline options` explains each.",
        "type": "object",
        "properties": {**_ABOUT, **_properties(top)},
        "additionalProperties": False,
        "$defs": {one.path: _of_section(one) for one in sections}
        | {path: _of_key(key) for path, key in top.keys.items()},
    }


def text() -> str:
    """Return the JSON schema as a file has it."""
    return json.dumps(json_schema(), indent=1, ensure_ascii=False) + "\n"


def _of_section(section: Section) -> dict[str, Any]:
    return {"type": ["object", "null"], "properties": _properties(section), "additionalProperties": False}


def _properties(section: Section) -> dict[str, Any]:
    parts = section.below | {name: key.path for name, key in section.keys.items()}
    return {name: {"$ref": f"#/$defs/{path}"} for name, path in parts.items()}


def _of_key(key: Key) -> dict[str, Any]:
    default = list(key.default) if isinstance(key.default, tuple) else key.default
    found: dict[str, Any] = {"description": key.doc, "default": default}
    if key.example is not None:
        found["examples"] = [list(key.example) if isinstance(key.example, tuple) else key.example]
    forms = _forms(key)
    return found | (forms[0] if len(forms) == 1 else {"anyOf": forms})


def _forms(key: Key) -> list[dict[str, Any]]:
    """Return a schema for each form that a value may have."""
    if key.structured:
        return [{"type": ["string", "array", "object", "null"]}]
    forms = _single(key)
    if key.by_selector:
        forms.append({"type": "object", "additionalProperties": {"type": "number", "minimum": 0}})
    if key.many:
        forms.append({"type": "array", "items": {"anyOf": _single(key)}})
    return [*forms, {"type": "null"}] if key.optional or key.many else forms


def _single(key: Key) -> list[dict[str, Any]]:
    forms: list[dict[str, Any]] = []
    if key.choices:
        words: list[Any] = list(key.choices)
        words += [word for name, word in (("on", True), ("off", False)) if name in key.choices]  # what YAML 1.1 reads
        forms.append({"enum": words})
    if bool in key.types:
        forms.append({"type": "boolean"})
    if key.types & {int, float}:
        forms.append({"type": "number" if float in key.types else "integer", **_limits(key)})
    if str in key.types and not key.choices:
        forms.append({"type": "string", "minLength": 1, "maxLength": LONGEST_TEXT})
    return forms


def _limits(key: Key) -> dict[str, float]:
    limits = {
        "exclusiveMinimum": key.above,
        "minimum": key.at_least,
        "exclusiveMaximum": key.below,
        "maximum": key.at_most,
    }
    return {name: limit for name, limit in limits.items() if limit is not None}


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(text(), encoding="utf-8")
