"""The pages of docs/: their Python runs, what they show is what is printed, and their links lead somewhere."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from support.pages import DOCS, REPOSITORY, blocks_of, links_of, run_page, title_of
from support.tiny import save_text
from thermocline.cli import _parser

PAGES = sorted(path for path in DOCS.rglob("*.md") if path.parent != DOCS or path.name == "index.md")
SECTIONS = ("tutorials", "how-to", "explanation")
IDS = [str(path.relative_to(DOCS)) for path in PAGES]

# What is shorter in a test: of each page texts that are replaced (support/pages.py).
SHORTER: dict[str, dict[str, str]] = {}
REAL_WEIGHTS = {"explanation/plan.md"}
"""Pages that show figures of MiniLM itself."""


@pytest.fixture(scope="session")
def small_backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As many layers as the backbone of the preset `offline`, a twelfth as wide."""
    folder = tmp_path_factory.mktemp("checkpoints") / "small"
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2, "max_position_embeddings": 64}
    return save_text(folder, "bert", num_hidden_layers=6, **sizes)


@pytest.fixture
def as_a_reader(
    request: pytest.FixtureRequest, small_backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An empty working folder, pictures that open no window, and the small backbone."""
    import matplotlib

    matplotlib.use("Agg")
    monkeypatch.chdir(tmp_path)
    if str(getattr(request, "param", "")) not in REAL_WEIGHTS:
        monkeypatch.setattr("thermocline.backbones.pretrained._offline_folder", lambda name: small_backbone)


@pytest.mark.parametrize("as_a_reader", IDS, indirect=True)
def test_a_page_runs_and_prints_what_it_shows(as_a_reader: None, request: pytest.FixtureRequest) -> None:
    name = request.node.callspec.params["as_a_reader"]
    run_page(DOCS / name, SHORTER.get(name, {}))


def _commands() -> list[str]:
    lines = [line for path in PAGES for block in blocks_of(path) if block.language == "bash" for line in _lines(block)]
    return sorted({line for line in lines if line.startswith("thermocline ")})


def _lines(block) -> list[str]:
    return block.code.replace("\\\n", " ").splitlines()


@pytest.mark.parametrize("line", _commands())
def test_every_command_line_can_be_read(line: str) -> None:
    assert callable(_parser().parse_args(shlex.split(line, comments=True)[1:]).run)


@pytest.mark.parametrize("section", SECTIONS)
def test_an_index_names_every_page_of_its_folder(section: str) -> None:
    index = DOCS / section / "index.md"
    linked = {target.split("#")[0] for target in links_of(index)}
    assert {path.name for path in index.parent.glob("*.md")} - {"index.md"} <= linked


@pytest.mark.parametrize("path", PAGES, ids=IDS)
def test_links_lead_somewhere(path: Path) -> None:
    for target in links_of(path):
        file, _, anchor = target.partition("#")
        there = (path.parent / file).resolve() if file else path
        if there.is_relative_to(DOCS / "reference"):
            continue  # written while the site is built, which checks these links
        assert there.exists(), target
        if anchor and there.suffix == ".md":
            assert anchor in _anchors(there), target


def _anchors(path: Path) -> set[str]:
    import re

    text = path.read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", heading.lower()).strip()) for heading in headings}


# A person who knows AutoGluon looks for these in the README.
SOUGHT = {
    "how-to/freeze.md": "Freeze the backbone",
    "how-to/warm_start.md": "Continue training",
    "how-to/metrics.md": "Change the metric",
    "how-to/imbalance.md": "Handle imbalanced classes",
    "how-to/export.md": "Export a model",
    "how-to/several_gpus.md": "Use several GPUs",
}


@pytest.mark.parametrize(("page", "title"), SOUGHT.items())
def test_a_page_is_two_clicks_from_the_readme(page: str, title: str) -> None:
    first = _linked_from(REPOSITORY / "README.md")
    assert DOCS / page in first | {there for path in first for there in _linked_from(path)}
    assert title_of(DOCS / page).startswith(title)


def _linked_from(path: Path) -> set[Path]:
    pages = {(path.parent / target.split("#")[0]).resolve() for target in links_of(path)}
    return {page for page in pages if page.suffix == ".md" and page.is_file()}
