"""The command that prints a script by which a shell completes commands, flags, presets, options and files."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from typing import Any

from thermocline.cli.parts import FILE, FOLDER, OPTION, PRESET, add_command

SHELLS = ("bash", "zsh", "tcsh", "fish")
EXAMPLES = (
    "thermocline completion bash > ~/.thermocline.bash   # source it in ~/.bashrc\n"
    "thermocline completion zsh > ~/.zfunc/_thermocline   # a folder of $fpath\n"
    "thermocline completion tcsh > ~/.thermocline.csh     # source it in ~/.tcshrc\n"
    "thermocline completion fish > ~/.config/fish/completions/thermocline.fish"
)


def add(commands: Any) -> None:
    """Add the command."""
    text = "print a script by which a shell completes commands and options"
    completion = add_command(commands, "completion", text, EXAMPLES)
    completion.add_argument("shell", choices=SHELLS, help="the shell; a new one reads the script")
    completion.set_defaults(run=_completion)


def _completion(given: argparse.Namespace) -> None:
    print(script(given.whole, given.shell))


def script(parser: argparse.ArgumentParser, shell: str) -> str:
    """Return the script for a shell; it names the presets and options of this version.

    Args:
        parser: The whole command line.
        shell: One of `SHELLS`.
    """
    import shtab

    from thermocline.config import preset_names, schema_of

    known = {
        FILE: shtab.FILE,
        FOLDER: shtab.DIRECTORY,
        PRESET: _words("presets", preset_names()),
        OPTION: _words("options", list(schema_of().keys)),
    }
    for action in _actions(parser):
        if hasattr(action, "completed_by"):
            action.complete = known[action.completed_by]  # type: ignore[attr-defined]
    return str(shtab.complete(parser, shell)).rstrip()


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Yield the arguments of a command and of those below it."""
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                yield from _actions(below)


def _words(name: str, words: Sequence[str]) -> dict[str, Any]:
    """Return how each shell completes one of several words, in the form of shtab."""
    text = " ".join(words)
    function = f"_thermocline_{name}"
    return {
        "bash": function,
        "zsh": f"({text})",
        "tcsh": f"({text})",
        "fish": f"(string split ' ' '{text}')",
        "preamble": {"bash": f'{function}() {{\n  compgen -W "{text}" -- "$1"\n}}\n'},
    }
