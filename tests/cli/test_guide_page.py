"""The page on the command line: its commands run in their order, and it says of the exit status what the code says."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pandas as pd

from thermocline.cli import _parser, main
from thermocline.cli.parts import EXITS

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "command_line.md").read_text(encoding="utf-8")

# A test has not the time of a reader: a few steps of a small network, and no trees.
SMALLER = ["--set", "optim.max_steps=4", "model.table.width=16", "model.table.blocks=1", "model.trees=off"]
ONLY_READ = {"export", "recommend", "third_model", "plan.json"}  # other tests run these


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)


def commands() -> list[list[str]]:
    lines = [line for block in blocks("bash") for line in block.splitlines()]
    return [shlex.split(line.partition(" > ")[0]) for line in lines]


def test_its_commands_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (python,) = blocks("python")
    exec(compile(python, "command_line.md", "exec"), {})
    for program, command, *rest in commands():
        assert program == "thermocline"
        smaller = SMALLER if command in ("fit", "explain", "recommend") else []
        if ONLY_READ & {command, *rest}:
            assert callable(_parser().parse_args([command, *rest]).run)
        else:
            assert main([command, *rest, *smaller]) == 0, (command, rest, capsys.readouterr().err)
            said = capsys.readouterr().out
            assert said or "--out" in rest, (command, rest)
    assert list(pd.read_csv("predictions.csv").columns) == ["id", "cultivar"]
    assert list(pd.read_csv("submission.csv").columns) == ["id", "0", "1", "2"]
    assert Path("mine.yaml").read_text(encoding="utf-8").startswith("# yaml-language-server: $schema=")


def test_it_names_every_command_and_exit_status():
    parser = _parser()
    (listed,) = [action for action in parser._actions if action.choices]
    for name in set(listed.choices) - {"demo"}:
        assert f"thermocline {name}" in PAGE, name
    for number, words in EXITS.items():
        assert f"| {number} | {words} |" in PAGE
