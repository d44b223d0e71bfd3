"""Options: what there is, what presets say, what the user says, and where each value came from."""

from .joined import Schema, schema_of
from .keys import Key
from .presets import Preset, compose, copy_preset, list_presets, preset_names, preset_text, read_preset
from .resolve import resolve
from .resolved import ResolvedConfig
from .structures import read_phase_file

__all__ = [
    "Key",
    "Preset",
    "ResolvedConfig",
    "Schema",
    "compose",
    "copy_preset",
    "list_presets",
    "preset_names",
    "preset_text",
    "read_phase_file",
    "read_preset",
    "resolve",
    "schema_of",
]
