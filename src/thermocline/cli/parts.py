"""What several commands share: how help looks, JSON, where notes and files go."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from thermocline.report.plain import plain

EXITS = {
    0: "done",
    1: "an error; one paragraph on stderr says what to do",
    2: "a command line that cannot be read",
    130: "stopped by Ctrl-C",
}
"""Exit status of a command → what it means."""

KEYS = "options and their values: thermocline options"
"""Where the keys of `--set` are."""

FILE, FOLDER, OPTION, PRESET, METRIC, TYPE = "file", "folder", "option", "preset", "metric", "problem type"
"""What a shell completes an argument by (`completes`)."""


class Help(argparse.RawDescriptionHelpFormatter):
    """Help whose description and example stay in the lines that they are written in."""

    def __init__(self, prog: str, width: int | None = None) -> None:
        super().__init__(prog, max_help_position=26, width=width)
        self._action_max_length = 14  # of a command, whose help starts a line below otherwise


def epilog(example: str) -> str:
    """Return the end of a command's help: an example, where options are, what the exit status says.

    Args:
        example: A command line or several, a line each.
    """
    lines = "\n".join(f"  {line}" for line in example.splitlines())
    return f"{'examples' if len(example.splitlines()) > 1 else 'example'}:\n{lines}\n\n{KEYS}\n{exits()}"


def exits() -> str:
    """Return what the exit status says, in a few words."""
    words = {0: "done", 1: "error", 2: "wrong command line", 130: "Ctrl-C"}
    return f"exit status: {', '.join(f'{number} {words[number]}' for number in EXITS)}"


def add_command(commands: Any, name: str, text: str, example: str) -> argparse.ArgumentParser:
    """Add a command with its help.

    Args:
        commands: What `add_subparsers` returned.
        name: Its name.
        text: What it does, in a line.
        example: A command line or several, a line each.
    """
    description = f"{text[0].upper()}{text[1:]}."
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=text, description=description, epilog=epilog(example), formatter_class=Help
    )
    return parser


def completes(action: argparse.Action, what: str) -> None:
    """Say what a shell completes an argument by: `FILE`, `FOLDER`, `OPTION`, `PRESET`, `METRIC` or `TYPE`."""
    action.completed_by = what  # type: ignore[attr-defined]


def add_json(parser: Any, what: str) -> None:
    """Add the flag `--json`.

    Args:
        parser: The command, or a group of its arguments.
        what: What is printed as JSON.
    """
    parser.add_argument("--json", action="store_true", help=f"print {what} as JSON; an error, too, on stderr")


def json_line(value: Any) -> str:
    """Return a value as one line of JSON in ASCII: what is not finite or missing is null, other objects are texts.

    Args:
        value: Mappings, lists, arrays, scalars, times and texts.

    Example:
        >>> json_line({"id": 7, "price": float("nan")})
        '{"id": 7, "price": null}'
    """
    return json.dumps(plain(value), allow_nan=False)


def load(given: argparse.Namespace) -> Any:
    """Return the saved predictor that a command names."""
    from thermocline.predictor import Predictor

    return Predictor.load(given.model, trust_remote_code=given.trust_remote_code)


@contextmanager
def notes_on_stderr() -> Iterator[None]:
    """Write what predictions note to stderr; stdout holds nothing but the result."""
    import logging

    from thermocline.report.console import LOG

    handler, level = logging.StreamHandler(sys.stderr), LOG.level
    handler.setFormatter(logging.Formatter("note: %(message)s"))
    LOG.addHandler(handler)
    LOG.setLevel(logging.INFO)
    try:
        yield
    finally:
        LOG.setLevel(level)
        LOG.removeHandler(handler)


def check_out(file: str | None, option: str = "--out") -> None:
    """What cannot be written must show before the work, not after it."""
    from thermocline.errors import ConfigError

    if file and (Path(file).is_dir() or not Path(file).absolute().parent.is_dir()):
        raise ConfigError(f"{option} {file!r} cannot be written: it is a folder, or lies in one that is not there.")
