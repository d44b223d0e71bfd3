"""Options: what there is, what presets say, what the user says, and where each value came from."""

from .documents import read_yaml
from .joined import Schema, schema_of
from .keys import Key
from .lookup import list_options
from .option import option
from .own import Needed, is_recorded
from .presets import Preset, compose, copy_preset, list_presets, preset_names, preset_text, presets_folder, read_preset
from .reads import Reads, check_read, reads_of
from .resolve import read_spaces, resolve
from .resolved import ResolvedConfig
from .rules import Case, Rule, Steps
from .rules_file import load_rules
from .spaces import SEARCH, Drawn, Space
from .structures import read_phase_file

__all__ = [
    "SEARCH",
    "Case",
    "Drawn",
    "Key",
    "Needed",
    "Preset",
    "Reads",
    "ResolvedConfig",
    "Rule",
    "Schema",
    "Space",
    "Steps",
    "check_read",
    "compose",
    "copy_preset",
    "is_recorded",
    "list_options",
    "list_presets",
    "load_rules",
    "option",
    "preset_names",
    "preset_text",
    "presets_folder",
    "read_phase_file",
    "read_preset",
    "read_spaces",
    "read_yaml",
    "reads_of",
    "resolve",
    "schema_of",
]
