"""The pages of docs/: their Python runs, what they show is what is printed, and their links lead somewhere."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from support.pages import DOCS, REPOSITORY, blocks_of, links_of, run_page, title_of
from thermocline.cli import _parser

PAGES = sorted(path for path in DOCS.rglob("*.md") if path.parent != DOCS or path.name == "index.md")
SECTIONS = ("tutorials", "how-to", "explanation")
IDS = [str(path.relative_to(DOCS)) for path in PAGES]

# What is shorter in a test: of each page texts that are replaced (support/pages.py).
FEW_STEPS = 'hyperparameters={"optim.max_steps": 4}'
NO_TREES = 'hyperparameters={"optim.max_steps": 4, "model.trees": "off"}'
SMALL_IMAGES = '"optim.max_steps": 4, "model.image.size": 32'
OFFLINE_FIT = 'fit(train, presets=["medium_quality", "offline"])'
SHORTER: dict[str, dict[str, str]] = {
    "index.md": {
        "random_state=0)": f"random_state=0), {FEW_STEPS}",
        "as_frame=True).frame": "as_frame=True).frame.iloc[:, -4:]",
    },
    "how-to/presets.md": {'"model.trees": "off"': '"model.trees": "off", "optim.max_steps": 4'},
    "how-to/search.md": {"as_frame=True).frame": "as_frame=True).frame.iloc[:, -4:]"},
    "tutorials/text.md": {
        "rows=800": "rows=240",
        OFFLINE_FIT: f'fit(train, presets=["medium_quality", "offline"], {FEW_STEPS})',
    },
    "tutorials/image.md": {
        OFFLINE_FIT: f'fit(train, presets=["medium_quality", "offline"], hyperparameters={{{SMALL_IMAGES}}})',
    },
    "tutorials/mixed.md": {
        "rows=400": "rows=160",
        "parcels[:320], parcels[320:]": "parcels[:130], parcels[130:]",
        OFFLINE_FIT: f'fit(train, presets=["medium_quality", "offline"], hyperparameters={{{SMALL_IMAGES}}})',
    },
    "tutorials/choosing.md": {
        "rows=400": "rows=200",
        "frame[:300], frame[300:]": "frame[:160], frame[160:]",
        '"optim.arms": 3}': '"optim.arms": 3, "optim.max_steps": 4}',
        '"optim.max_epochs": "int(1, 3)"': '"optim.max_steps": "int(2, 3)"',
    },
    "how-to/kaggle.md": {
        'fit("train.csv", column_types={"id": "null"}': f'fit("train.csv", column_types={{"id": "null"}}, {NO_TREES}',
        "as_frame=True).frame.reset": "as_frame=True).frame.iloc[:, -4:].reset",
    },
    "how-to/time_limit.md": {"as_frame=True).frame": "as_frame=True).frame.iloc[:200, -4:]"},
    "how-to/from_fastai.md": {'"resnet34"': '"resnet10t"', '"optim.max_epochs": 5': SMALL_IMAGES},
    "how-to/from_composer.md": {'"optim.max_epochs": 4': SMALL_IMAGES},
    "how-to/from_mmengine.md": {'"optim.max_epochs": 4': SMALL_IMAGES},
    "how-to/own_model.md": {'"optim.max_steps": 4': SMALL_IMAGES},
    "how-to/from_autogluon.md": {'"optim.max_epochs": 3': '"optim.max_steps": 4'},
    "how-to/from_trainer.md": {'"optim.max_epochs": 3': '"optim.max_steps": 4'},
    "how-to/imbalance.md": {'"optim.max_epochs": 8': '"optim.max_epochs": 4, "model.table.width": 32'},
    "how-to/small_data.md": {'"optim.max_epochs": 2': '"optim.max_steps": 2'},
    "explanation/beside.md": {"as_frame=True).frame": "as_frame=True).frame.iloc[:200, -4:]"},
}


@pytest.mark.parametrize("as_a_reader", IDS, indirect=True)
def test_a_page_runs_and_prints_what_it_shows(as_a_reader: str) -> None:
    run_page(DOCS / as_a_reader, SHORTER.get(as_a_reader, {}))


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
