"""The page of reference of the command line, made from the commands themselves."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from functools import partial

from thermocline.cli import _parser
from thermocline.cli.parts import EXITS, Help

WIDTH = 80
"""Columns of the help."""


def commands_markdown() -> str:
    """Return the help of every command, with what the exit status says.

    Returns:
        A page of Markdown, which begins with a heading.

    Example:
        >>> "## thermocline predict" in commands_markdown()
        True
    """
    lines = ["# Command line", "", "| exit status | what it says |", "|---|---|"]
    lines += [f"| {number} | {words} |" for number, words in EXITS.items()]
    for parser in commands(_parser()):
        parser.formatter_class = partial(Help, width=WIDTH)  # type: ignore[assignment]  # a class, or what makes one
        lines += ["", f"## {parser.prog}", "", "```text", parser.format_help().rstrip(), "```"]
    return "\n".join([*lines, ""])


def commands(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """Yield a command and all below it, in their order."""
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                yield from commands(below)
