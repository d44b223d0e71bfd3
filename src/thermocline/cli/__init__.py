"""The command line: thermocline demo | fit | predict | evaluate | export | explain | recommend | presets."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from thermocline.cli import fitting, presets, using
from thermocline.errors import ThermoclineError, escaped
from thermocline.report.output import plain_where_needed

LEAST_DEMO_ROWS = 50


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: The command line, without the program's name; the process's own by default.

    Returns:
        The exit status: 0, 1 for an error of Thermocline's (one paragraph on stderr), 130 after Ctrl-C.
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
    except ThermoclineError as error:
        print(escaped(f"thermocline: {error}", lines=True), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("thermocline: stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader has seen enough
        sys.stdout = None
        return 0
    except OSError as error:  # a disk that is full, a folder that may not be written to
        print(escaped(f"thermocline: {error}", lines=True), file=sys.stderr)
        return 1
    finally:
        warnings.formatwarning = usual
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="thermocline", description="Fine-tune backbones on data frames, and see and control every layer."
    )
    parser.add_argument("--version", action="version", version=_version())
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_demo(commands)
    fitting.add(commands)
    using.add(commands)
    presets.add(commands)
    return parser


def _add_demo(commands: Any) -> None:
    demo = commands.add_parser("demo", help="a real fine-tune on a sample frame, without a hub")
    demo.add_argument("--sample", choices=["docstrings", "digits", "mixed"], default="docstrings")
    demo.add_argument("--rows", type=int, help="rows of the sample")
    demo.add_argument("--out", type=Path, help="keep the saved predictor here")
    demo.add_argument("--seed", type=int, default=0)
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
