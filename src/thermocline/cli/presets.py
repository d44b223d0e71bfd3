"""The command that lists, shows and copies presets."""

from __future__ import annotations

import argparse
from typing import Any


def add(commands: Any) -> None:
    """Add the command."""
    presets = commands.add_parser("presets", help="list, show or copy presets")
    actions = presets.add_subparsers(required=True, metavar="ls | show | copy")
    ls = actions.add_parser("ls", help="name, purpose and backbones of each")
    ls.set_defaults(run=_list_presets)
    show = actions.add_parser("show", help="print a preset")
    show.add_argument("name")
    show.set_defaults(run=_show_preset)
    copy = actions.add_parser("copy", help="copy a preset into a file of your own, to edit it")
    copy.add_argument("name")
    copy.add_argument("file")
    copy.set_defaults(run=_copy_preset)


def _list_presets(_given: argparse.Namespace) -> None:
    from thermocline.config import list_presets

    for row in list_presets().to_dict(orient="records"):
        print(f"{row['name']}: {row['purpose']}")
        parts = [f"{key}: {row[key]}" for key in row if key not in ("name", "purpose") and row[key]]
        if parts:
            print(f"    {'; '.join(parts)}")


def _show_preset(given: argparse.Namespace) -> None:
    from thermocline.config import preset_text

    print(preset_text(given.name), end="")


def _copy_preset(given: argparse.Namespace) -> None:
    from thermocline.config import copy_preset

    print(f"copied to {copy_preset(given.name, given.file)}; use it: --presets {given.file}")
