"""The examples in docstrings: they run, and print what they show."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path
from typing import Any

import pytest

import thermocline
from support.examples import example_names

SOURCE = Path(thermocline.__file__).parent
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
MODULES = sorted(
    ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts).removesuffix(".__init__")
    for path in SOURCE.rglob("*.py")
    if ">>> " in path.read_text(encoding="utf-8")
)


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return example_names(tmp_path_factory.mktemp("examples"))


@pytest.mark.parametrize("module", MODULES)
def test_examples_print_what_they_show(
    module: str, names: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    home = importlib.import_module(module)
    said: list[str] = []
    for example in doctest.DocTestFinder(exclude_empty=True).find(home, module, extraglobs=names):
        doctest.DocTestRunner(optionflags=FLAGS).run(example, out=said.append, clear_globs=True)
    assert not said, "".join(said)


def test_examples_are_not_skipped() -> None:
    skipped = [path.name for path in SOURCE.rglob("*.py") if "doctest: +SKIP" in path.read_text(encoding="utf-8")]
    assert skipped == []
