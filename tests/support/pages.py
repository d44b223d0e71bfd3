"""Pages of Markdown: their blocks of code, run as a reader would, on smaller models and in fewer steps.

A test has not the time of a reader. What is changed is said here and nowhere else:

- the backbone of the preset `offline` is `small_backbone`: as many layers as MiniLM, a twelfth as wide, random weights;
- a probe is regularised in one of two strengths, found in one draw of folds (`as_a_reader`);
- what `shorter` is given, texts of a page that are replaced by others (`tests/test_guide.py` has them).

A block that needs what a test has not (a hub, a GPU, a service) has a comment in the line above it, which says so:
`<!-- not run: it downloads pretrained weights -->`. It is compiled.
"""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import CodeType

REPOSITORY = Path(__file__).parents[2]
DOCS = REPOSITORY / "docs"
WIDEST_CODE = 88
"""Characters that GitHub and the site show without a scroll bar."""

UNCHANGED = {"explanation/plan.md", "how-to/warm_start.md"}
"""Pages that show figures of MiniLM itself, or scores: they get the backbone and the probe as they are."""

_BLOCK = re.compile(r"(?:^<!-- not run: (.+?) -->\n)?^```(\w+)[^\n]*\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\((?!https?:|mailto:)([^)\s]+)\)")
_FENCED = re.compile(r"^```.*?^```$", flags=re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A block of code: its language, what it holds, and why it is not run."""

    language: str
    code: str
    not_run: str = ""


def blocks_of(page: Path) -> list[Block]:
    """Return the blocks of code of a page, in their order."""
    found = _BLOCK.findall(page.read_text(encoding="utf-8"))
    return [Block(language, code, why) for why, language, code in found]


def links_of(page: Path) -> list[str]:
    """Return where a page links to within the repository, without what stands in blocks of code."""
    text = _FENCED.sub("", page.read_text(encoding="utf-8"))
    return [*_LINK.findall(text), *re.findall(r'(?:src|srcset)="(?!https?:)([^"]+)"', text)]


def title_of(page: Path) -> str:
    """Return the first heading of a page."""
    found = re.search(r"^# (.+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return found[1].strip() if found else ""


def run_page(page: Path, shorter: Mapping[str, str]) -> None:
    """Run the Python of a page from top to bottom; what a block of text shows is what the Python above it printed.

    Args:
        page: The page.
        shorter: Texts that are replaced in its Python; each has to be there.
    """
    names: dict[str, object] = {"__name__": "__main__"}
    said = ""
    used: set[str] = set()
    for block in blocks_of(page):
        if block.language == "python":
            code = block.code
            for long, short in shorter.items():
                used |= {long} if long in code else set()
                code = code.replace(long, short)
            compiled = compile(code, page.name, "exec")
            if not block.not_run:
                said = _said_by(compiled, names)
        elif block.language == "text" and not block.not_run:
            assert block.code in said, f"{page.name} shows\n{block.code}and this was printed:\n{said}"
    assert used == set(shorter), f"{page.name} has not {set(shorter) - used}"


def _said_by(code: CodeType, names: dict[str, object]) -> str:
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        exec(code, names)
    return output.getvalue()
