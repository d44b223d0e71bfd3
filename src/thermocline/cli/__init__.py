"""The command line: thermocline demo | fit | predict | evaluate | search | report | explain | export | options | …

A command is a module's `add(commands)`, which adds its arguments, and a function that takes what they were given.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from thermocline.cli import completion, fitting, options, presets, report, search, using
from thermocline.cli.parts import EXITS, KEYS, Help, add_command, exits, json_line
from thermocline.errors import ThermoclineError, escaped
from thermocline.report.output import plain_where_needed

DONE, FAILED, UNREADABLE, STOPPED = EXITS
"""Exit status of a command; argparse ends the process with the third by itself."""

LEAST_DEMO_ROWS = 50


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: The command line, without the program's name; the process's own by default.

    Returns:
        The exit status: 0, 1 for an error of Thermocline's (one paragraph on stderr; with `--json` a line of JSON), 130
        after Ctrl-C. A command line that cannot be read ends the process with 2.

    Example:
        >>> main(["options", "optim.lr_decay", "--json"])  # doctest: +ELLIPSIS
        [{"name": "optim.lr_decay", ...
        0
    """
    with plain_where_needed():
        given = _parser().parse_args(arguments)
        return _run(given)


def _run(given: argparse.Namespace) -> int:
    usual = warnings.formatwarning
    warnings.formatwarning = lambda message, *_args, **_kwargs: escaped(f"warning: {message}\n", lines=True)
    try:
        given.run(given)
        if sys.stdout is not None:
            sys.stdout.flush()  # what cannot be written must show here, not when the process ends
    except KeyboardInterrupt:
        print("thermocline: stopped", file=sys.stderr)
        return STOPPED
    except BrokenPipeError:  # the reader has seen enough
        sys.stdout = None
        return DONE
    except (ThermoclineError, OSError) as error:  # OSError: a disk that is full, a folder that may not be written to
        _say(error, as_json=getattr(given, "json", False))
        return FAILED
    finally:
        warnings.formatwarning = usual
    return DONE


def _say(error: Exception, *, as_json: bool) -> None:
    """Write an error to stderr."""
    if as_json:
        print(json_line({"error": {"type": type(error).__name__, "message": str(error)}}), file=sys.stderr)
    else:
        print(escaped(f"thermocline: {error}", lines=True), file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="thermocline",
        description="Fine-tune backbones on data frames, and see and control every layer.",
        epilog=f"help on a command: thermocline COMMAND --help\n{KEYS}\n{exits()}",
        formatter_class=Help,
    )
    parser.add_argument("--version", action="version", version=_version(), help="print the version and exit")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", title="commands")
    _add_demo(commands)
    for one in (fitting, using, search, report, options, presets, completion):
        one.add(commands)
    parser.set_defaults(whole=parser)
    return parser


def _add_demo(commands: Any) -> None:
    text = "a real fine-tune on a sample frame, without a hub"
    demo = add_command(commands, "demo", text, "thermocline demo --sample mixed --out my_model")
    samples = ["docstrings", "digits", "mixed"]
    demo.add_argument("--sample", choices=samples, default=samples[0], help="the rows (default: docstrings)")
    demo.add_argument("--rows", type=int, help="how many rows of the sample")
    demo.add_argument("--out", type=Path, metavar="FOLDER", help="keep the saved predictor here")
    demo.add_argument("--seed", type=int, default=0, help="same seed, same result on the CPU (default: 0)")
    demo.set_defaults(run=_demo)


def _demo(given: argparse.Namespace) -> None:
    from thermocline.cli import demo
    from thermocline.errors import ConfigError

    if given.rows is not None and given.rows < LEAST_DEMO_ROWS:
        raise ConfigError(f"The demo needs at least {LEAST_DEMO_ROWS} rows to split, not {given.rows}.")
    demo.run(given.sample, rows=given.rows, out=given.out, seed=given.seed)


def _version() -> str:
    from importlib.metadata import version

    return f"thermocline {version('thermocline')}"
