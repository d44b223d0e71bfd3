"""Help of every command, and what the exit status says."""

from __future__ import annotations

import re
import shlex

import pytest

from thermocline.cli import _parser, main, options
from thermocline.cli.parts import EXITS, KEYS
from thermocline.cli.reference import commands
from thermocline.errors import ConfigError

COMMANDS = [one for one in commands(_parser()) if one.prog != "thermocline"]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda one: one.prog)
def test_help_has_an_example_that_can_be_read_and_says_where_options_are(command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    said = command.format_help()
    assert max(map(len, said.splitlines())) <= 80
    assert KEYS in said
    assert "exit status: 0 done, 1 error, 2 wrong command line, 130 Ctrl-C" in said
    examples = re.findall(r"^  (thermocline .*)$", said, flags=re.MULTILINE)
    assert any(line.startswith(command.prog) for line in examples)
    for line in examples:
        words = shlex.split(line.partition(" > ")[0], comments=True)
        assert callable(_parser().parse_args(words[1:]).run), line


def test_every_argument_has_help():
    for command in COMMANDS:
        for action in command._actions:
            assert action.help or action.choices, (command.prog, action.dest)


def test_the_first_help_names_every_command_in_a_line(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    said = _parser().format_help()
    for command in COMMANDS:
        if len(words := command.prog.split()) == 2:
            assert re.search(rf"^    {words[1]} +\w", said, flags=re.MULTILINE), words[1]
    assert KEYS in said


def failing(error):
    def run(given):
        raise error

    return run


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (None, 0, ""),
        (ConfigError("No such thing."), 1, "thermocline: No such thing.\n"),
        (OSError(28, "No space left on device"), 1, "thermocline: [Errno 28] No space left on device\n"),
        (KeyboardInterrupt(), 130, "thermocline: stopped\n"),
    ],
)
def test_the_exit_status(error, status, said, monkeypatch, capsys):
    monkeypatch.setattr(options, "_options", failing(error) if error else lambda given: None)
    assert main(["options"]) == status
    assert capsys.readouterr() == ("", said)
    assert status in EXITS


def test_a_command_line_that_cannot_be_read_exits_with_two(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["options", "--jsn"])
    assert stopped.value.code == 2
    assert 2 in EXITS
    assert "usage: thermocline" in capsys.readouterr().err
