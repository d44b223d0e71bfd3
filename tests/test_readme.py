"""The README: its Python runs, its commands exist, its figures are those of the benchmarks, and it is short."""

from __future__ import annotations

import json
import re
import shlex
from collections import Counter
from typing import Any

import pytest

from support.pages import REPOSITORY, WIDEST_CODE, blocks_of, links_of, run_page
from thermocline.cli import _parser

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
MAKEFILE = (REPOSITORY / "Makefile").read_text(encoding="utf-8")

SHORTER = {
    "rows=800": "rows=100",
    "frame[:600], frame[600:]": "frame[:80], frame[80:]",
    "predictor.fit(train, presets=presets)": (
        'predictor.fit(train, presets=presets, hyperparameters={"optim.max_steps": 4})'
    ),
}
LONGEST_README = 150  # lines


def _blocks(language: str) -> list[str]:
    return [block.code for block in blocks_of(REPOSITORY / "README.md") if block.language == language]


def _commands() -> list[list[str]]:
    lines = [line for block in _blocks("bash") for line in block.splitlines()]
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def test_the_python_runs(as_a_reader: None) -> None:
    run_page(REPOSITORY / "README.md", SHORTER)


def test_it_is_short() -> None:
    assert len(README.splitlines()) <= LONGEST_README
    code = [
        line for language in ("python", "bash", "text") for block in _blocks(language) for line in block.splitlines()
    ]
    assert max(map(len, code)) <= WIDEST_CODE


def _result(name: str) -> Any:
    return json.loads((REPOSITORY / "benchmarks" / "results" / f"{name}.json").read_text(encoding="utf-8"))


def test_its_figures_are_those_of_the_benchmarks() -> None:
    """Each row of the table of figures, from the file that it names."""
    right = {
        name: (of, share) for name, of, share in _census("layer_census_timm") + _census("layer_census_transformers")
    }
    cached = [row["cached / plain"] for row in _result("frozen")["whole"]["rows"] if row["head"] == "random"]
    norms = next(row for row in _result("frozen")["norms"]["rows"] if row["model"] == "resnet50")
    padded = {(row["rows"], row["order"]): row["padded / real"] for row in _result("text_batches")["results"]}
    trainer = [ratio for (_, order), ratio in padded.items() if order == "plain shuffling (Trainer)"]
    forecast = [abs(row["error"]) for row in _result("estimate")["bytes"]]
    verdicts = Counter(case["vs_baseline"]["verdict"] for case in _result("quality")["cases"] if case["vs_baseline"])
    count, share = right["ours, timm, here"]
    others, theirs = right["ours, transformers, here"]
    matcher = right["timm's group_matcher, here"][1]
    patterns = right["AutoGluon's pattern tables, transformers, sequence, published"][1]
    folded = [row["folded / plain"] for row in _result("memory")["saved"]["rows"]]
    step = _result("overhead")["ours / bare, median of pairs"]
    for shown in (
        f"{count:,} models of timm | {share:.0f} % | {matcher:.0f} %",
        f"{others} models of transformers | {theirs:.1f} %",
        f"| {patterns:.0f} % (AutoGluon, of 124",
        f"| {min(cached):.2f} to {max(cached):.2f}, the same bits",
        f"| {norms['frozen, ours']} | {norms['frozen, requires_grad only']} (",
        f"| {padded[1000, 'ours']:.2f} | {min(trainer):.1f} to {max(trainer):.1f} (HF Trainer)",
        f"| {max(folded):.2f} |",
        f"| {sum(error <= 0.001 for error in forecast)} of {len(forecast)} within 0.1 %",
        f"| {step:.2f} | | [overhead]",
        f"{verdicts.total()} settings | ahead {verdicts['ahead']}, level {verdicts['level']}, "
        f"behind {verdicts['behind']}",
    ):
        assert shown in README, shown


def _census(name: str) -> list[Any]:
    return _result(name)["comparison"]


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
    for target in links_of(REPOSITORY / "README.md"):
        assert (REPOSITORY / target.partition("#")[0]).exists(), target
