"""The pages of docs/: their Python runs, what they show is what is printed, and their links lead somewhere."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from support.pages import DOCS, REPOSITORY, WIDEST_CODE, blocks_of, links_of, run_page, title_of
from thermocline.cli import _parser

PAGES = sorted(path for path in DOCS.rglob("*.md") if path.parent != DOCS or path.name == "index.md")
IDS = [str(path.relative_to(DOCS)) for path in PAGES]

# What is shorter in a test: of each page texts that are replaced (support/pages.py).
FEW_STEPS = 'hyperparameters={"optim.max_steps": 4}'
NO_TREES = 'hyperparameters={"optim.max_steps": 4, "model.trees": "off"}'
WITHOUT_WORDS = '"optim.max_steps": 4, "model.tfidf": "off"'
SMALL_IMAGES = '"optim.max_steps": 4, "model.image.size": 32'
OFFLINE_FIT = 'fit(train, presets=["medium_quality", "offline"])'
SHORTER: dict[str, dict[str, str]] = {
    "index.md": {"random_state=0)": f"random_state=0), {NO_TREES}"},
    "tutorials/text.md": {
        "rows=800": "rows=120",
        OFFLINE_FIT: f'fit(train, presets=["medium_quality", "offline"], {FEW_STEPS})',
    },
    "tutorials/image.md": {
        "rows=900": "rows=720",
        OFFLINE_FIT: f'fit(train, presets=["medium_quality", "offline"], hyperparameters={{{SMALL_IMAGES}}})',
    },
    "tutorials/mixed.md": {
        "rows=400": "rows=100",
        "parcels[:320], parcels[320:]": "parcels[:80], parcels[80:]",
        OFFLINE_FIT: f'fit(train, presets=["medium_quality", "offline"], hyperparameters={{{SMALL_IMAGES}}})',
    },
    "tutorials/matching.md": {
        "[:400], frame[400:]": "[:60], frame[60:120]",
        'frame["reply"], k=3': 'frame["reply"][:40], k=3',
        "corpus(frame)": "corpus(frame[:40])",
        '"optim.max_epochs": 2': '"optim.max_steps": 2',
    },
    "tutorials/choosing.md": {
        "rows=400": "rows=100",
        "frame[:300], frame[300:]": "frame[:80], frame[80:]",
        'memory="2GB"': 'memory="64GB"',
        '"optim.arms": 3}': '"optim.arms": 2, "optim.max_steps": 2}',
        '"optim.max_epochs": "int(1, 3)"': '"optim.max_steps": "int(2, 3)"',
        '{"trials": 4}': '{"trials": 2}',
    },
    "how-to/adapters.md": {"rows=300": "rows=60"},
    "how-to/budget.md": {"rows=300": "rows=60", 'memory="900MB"': 'memory="64GB"'},
    "how-to/freeze.md": {"rows=400": "rows=60"},
    "how-to/from_autogluon.md": {'"optim.max_epochs": 3': WITHOUT_WORDS},
    "how-to/from_composer.md": {'"optim.max_epochs": 4': SMALL_IMAGES},
    "how-to/from_fastai.md": {'"resnet34"': '"resnet10t"', '"optim.max_epochs": 5': SMALL_IMAGES},
    "how-to/from_mmengine.md": {'"optim.max_epochs": 4': SMALL_IMAGES},
    "how-to/from_trainer.md": {'"optim.max_epochs": 3': WITHOUT_WORDS},
    "how-to/imbalance.md": {
        "900": "300",
        "frame[:700], frame[700:]": "frame[:220], frame[220:]",
        '"optim.max_epochs": 8': '"optim.max_steps": 4, "model.table.width": 32, "model.trees": "off"',
    },
    "how-to/kaggle.md": {
        "as_frame=True).frame": "as_frame=True).frame.iloc[:, -4:]",
        "time_limit": f"{NO_TREES}, time_limit",
        "seed=seed": f"seed=seed, {NO_TREES}",
    },
    "how-to/long_text.md": {'"optim.max_steps": 4': WITHOUT_WORDS},
    "how-to/memory.md": {
        "rows=300": "rows=60",
        'presets=["medium_quality", "offline"], memory="2GB"': f'presets="offline", {FEW_STEPS}, memory="64GB"',
    },
    "how-to/own_model.md": {'"optim.max_steps": 4': SMALL_IMAGES},
    "how-to/presets.md": {'"model.trees": "off"': '"model.trees": "off", "optim.max_steps": 4'},
    "how-to/search.md": {'"optim.max_epochs": "int(1, 3)"': '"optim.max_steps": "int(1, 3)"'},
    "how-to/small_data.md": {"rows=300": "rows=100", '"optim.max_epochs": 2': '"optim.max_steps": 2'},
    "how-to/time_limit.md": {"as_frame=True).frame": "as_frame=True).frame.iloc[:90]"},
    "how-to/unfreeze.md": {"rows=400": "rows=60"},
    "how-to/without_hub.md": {"rows=200": "rows=60"},
    "explanation/beside.md": {"as_frame=True).frame": "as_frame=True).frame.iloc[:120, -3:]"},
    "explanation/cache.md": {"rows=200": "rows=60"},
    "explanation/choosing.md": {"rows=200": "rows=60"},
    "explanation/columns.md": {"rows=120": "rows=90"},
    "explanation/cost_estimate.md": {"rows=200": "rows=60"},
    "explanation/plan.md": {"rows=240": "rows=40"},
    "explanation/probe.md": {"rows=240": "rows=60"},
}


@pytest.mark.parametrize("as_a_reader", IDS, indirect=True)
def test_a_page_runs_and_prints_what_it_shows(as_a_reader: str) -> None:
    run_page(DOCS / as_a_reader, SHORTER.get(as_a_reader, {}))


@pytest.mark.parametrize("path", PAGES, ids=IDS)
def test_code_is_as_wide_as_a_page(path: Path) -> None:
    code = "".join(block.code for block in blocks_of(path) if block.language == "python")
    assert [line for line in code.splitlines() if len(line) > WIDEST_CODE] == []


def _commands() -> list[str]:
    lines = [line for path in PAGES for block in blocks_of(path) if block.language == "bash" for line in _lines(block)]
    return sorted({line for line in lines if line.startswith("thermocline ")})


def _lines(block) -> list[str]:
    return block.code.replace("\\\n", " ").splitlines()


@pytest.mark.parametrize("line", _commands())
def test_every_command_line_can_be_read(line: str) -> None:
    words = shlex.split(line.split(" > ")[0], comments=True)  # without what the shell redirects
    assert callable(_parser().parse_args(words[1:]).run)


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
