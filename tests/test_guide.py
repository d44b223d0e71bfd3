"""The guide: the Python of each page runs from top to bottom, and what a page shows is what is printed."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
GUIDE = DOCS / "guide"
PAGES = sorted(path for path in GUIDE.glob("*.md") if path.name != "index.md")


def _blocks(page: str) -> list[tuple[str, str]]:
    """Return language and content of every block of code."""
    return re.findall(r"^```(\w+)\n(.*?)^```$", page, flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("path", [*PAGES, DOCS / "samples.md"], ids=lambda path: path.stem)
def test_a_page_runs_and_prints_what_it_shows(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import matplotlib

    matplotlib.use("Agg")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "__main__"}
    said = ""
    for language, block in _blocks(path.read_text(encoding="utf-8")):
        if language == "python":
            output = io.StringIO()
            with contextlib.redirect_stdout(output):
                exec(compile(block, path.name, "exec"), names)
            said = output.getvalue()
        elif language == "text":  # what the Python above it prints
            assert block in said, said


def test_the_index_names_every_page() -> None:
    index = (GUIDE / "index.md").read_text(encoding="utf-8")
    assert set(re.findall(r"\]\(([\w-]+\.md)\)", index)) == {path.name for path in PAGES}
    for path in [*PAGES, GUIDE / "index.md"]:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", path.read_text(encoding="utf-8")):
            assert (path.parent / target).exists(), f"{path.name}: {target}"
