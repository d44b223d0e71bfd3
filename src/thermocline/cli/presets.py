"""The command that lists, shows and copies presets."""

from __future__ import annotations

import argparse
from typing import Any

from thermocline.cli.parts import FILE, PRESET, add_command, add_json, completes, json_line


def add(commands: Any) -> None:
    """Add the command."""
    example = (
        "thermocline presets copy medium_quality mine.yaml\n"
        "thermocline fit train.csv --label y --presets mine.yaml --out my_model"
    )
    presets = add_command(commands, "presets", "list, show or copy presets", example)
    actions = presets.add_subparsers(required=True, metavar="ls | show | copy")
    ls = add_command(actions, "ls", "name, purpose and backbones of each preset", "thermocline presets ls")
    add_json(ls, "the presets")
    ls.set_defaults(run=_list_presets)
    show = add_command(actions, "show", "print a preset as it stands in its file", "thermocline presets show offline")
    completes(show.add_argument("name", help="the name of a preset, or a path"), PRESET)
    show.set_defaults(run=_show_preset)
    text = "copy a preset into a file of your own, to edit it"
    copy = add_command(actions, "copy", text, "thermocline presets copy medium_quality mine.yaml --schema")
    completes(copy.add_argument("name", help="the name of a preset, or a path"), PRESET)
    completes(copy.add_argument("file", help="the new file, ending in .yaml, or a folder"), FILE)
    text = "also copy the JSON schema beside it and name it in the first line: editors complete and check by it"
    copy.add_argument("--schema", action="store_true", help=text)
    copy.set_defaults(run=_copy_preset)


def _list_presets(given: argparse.Namespace) -> None:
    from thermocline.config import list_presets
    from thermocline.report.screen import paragraph

    rows = list_presets().to_dict(orient="records")
    if given.json:
        print(json_line(rows))
        return
    for row in rows:
        print(paragraph(f"{row['name']}: {row['purpose']}"))
        parts = [f"{key}: {row[key]}" for key in row if key not in ("name", "purpose") and row[key]]
        if parts:
            print(paragraph(f"    {'; '.join(parts)}", indent="    "))


def _show_preset(given: argparse.Namespace) -> None:
    from thermocline.config import preset_text

    print(preset_text(given.name), end="")


def _copy_preset(given: argparse.Namespace) -> None:
    from thermocline.config import copy_preset

    copied = copy_preset(given.name, given.file, schema=given.schema)
    print(f"copied to {copied}; use it: --presets {copied}")
