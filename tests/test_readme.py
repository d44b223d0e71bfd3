"""The README: its Python runs from top to bottom, its commands exist, and what it shows is what is printed."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from pathlib import Path

import pytest

from thermocline.cli import _parser

REPOSITORY = Path(__file__).parents[1]
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
MAKEFILE = (REPOSITORY / "Makefile").read_text(encoding="utf-8")

# A test has not the time of a reader: fewer rows, and a few steps.
SMALLER = {
    "rows=800": "rows=240",
    'fit(train, presets=["medium_quality", "offline"])': (
        'fit(train, presets=["medium_quality", "offline"], hyperparameters={"optim.max_steps": 8})'
    ),
    '"optim.arms": 3}': '"optim.arms": 3, "optim.max_steps": 8}',
    "time_limit=60": 'time_limit=60, hyperparameters={"optim.max_steps": 3}',
    '"optim.max_epochs": "int(1, 3)"': '"optim.max_steps": "int(2, 3)"',
}


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)


def _commands() -> list[list[str]]:
    lines = [line for block in _blocks("bash") for line in block.splitlines()]
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def test_the_python_runs_and_prints_what_it_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import matplotlib

    matplotlib.use("Agg")
    monkeypatch.chdir(tmp_path)
    used: set[str] = set()
    spoken: dict[str, object] = {}
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        for block in _blocks("python"):
            for long, short in SMALLER.items():
                used |= {long} if long in block else set()
                block = block.replace(long, short)
            exec(compile(block, "README.md", "exec"), spoken)
    assert used == set(SMALLER)
    shown = _blocks("text")
    printed = said.getvalue()
    (plan,) = (block for block in shown if block.startswith("layerwise_decay, base lr"))
    assert plan in printed
    (ribbon,) = (block for block in shown if "█ trainable" in block)
    rows = [line for line in ribbon.splitlines() if set(line.split()[-1]) <= set("█·")]
    assert len(rows) == 8
    for row in rows:  # where exactly a phase begins depends on the number of steps
        assert re.search(rf"^{row.split()[0]} +[█·]{{60}}$", printed, flags=re.MULTILINE)
        assert len(row.split()[1]) == 60
    (faults,) = (block for block in shown if "2 faults" in block)
    assert faults in printed
    (columns,) = (block for block in shown if block.startswith("column "))
    for line in columns.splitlines():  # the reasons depend on the rows
        assert re.search(rf"^{line.split()[0]} +{line.split()[1]} ", printed, flags=re.MULTILINE)


def test_every_make_command_is_a_target() -> None:
    named = {words[1] for words in _commands() if words[0] == "make"}
    assert {"demo", "test"} <= named
    assert named <= set(re.findall(r"^([a-z]+):", MAKEFILE, flags=re.MULTILINE))


def test_the_plain_lines_are_those_of_the_makefile() -> None:
    recipes = MAKEFILE
    for name in ("VENV", "PYTHON", "BOUNDS"):
        (default,) = re.findall(rf"^{name} \?= (.*)$", MAKEFILE, flags=re.MULTILINE)
        recipes = recipes.replace(f"$({name})", default)
    plain = [words for words in _commands() if words[0].startswith(".venv") or "venv" in words]
    assert len(plain) >= 5
    for words in plain:
        assert " ".join(words) in recipes.replace("'", "")
    test, notebooks = (words for words in _commands() if "pytest" in words)
    for target, words in (("test", test), ("notebooks", notebooks)):
        assert words[0] == "OMP_NUM_THREADS=1"
        assert f"{target}: export OMP_NUM_THREADS = 1" in recipes
        assert " ".join(words[1:]) in recipes


@pytest.mark.parametrize("words", [words for words in _commands() if words[0] == "thermocline"], ids=" ".join)
def test_every_command_line_can_be_read(words: list[str]) -> None:
    assert callable(_parser().parse_args(words[1:]).run)


def test_every_link_leads_somewhere() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", README):
        assert (REPOSITORY / target).exists(), target
