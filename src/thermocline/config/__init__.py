"""Options: what there is, what presets say, what the user says, and where each value came from."""

from .keys import KEYS, Key
from .presets import Preset, compose, copy_preset, list_presets, preset_names, preset_text, read_preset
from .resolve import resolve
from .resolved import ResolvedConfig
from .schema import Config
from .structures import read_phase_file

__all__ = [
    "KEYS",
    "Config",
    "Key",
    "Preset",
    "ResolvedConfig",
    "compose",
    "copy_preset",
    "list_presets",
    "preset_names",
    "preset_text",
    "read_phase_file",
    "read_preset",
    "resolve",
]
