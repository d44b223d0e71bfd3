"""The site of docs/: pages are linked, links into the repository lead somewhere, and nothing comes from elsewhere.

`mkdocs build --strict` checks links between pages, anchors too (`make docs`).
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from support.pages import DOCS, REPOSITORY, links_of

SECTIONS = ("tutorials", "how-to", "reference", "explanation")
PAGES = sorted([*DOCS.rglob("*.md"), *REPOSITORY.glob("*.md")])


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_links_into_the_repository_lead_somewhere(path: Path) -> None:
    made = DOCS / "reference"  # its other pages are written while the site is built
    for link in links_of(path):
        target = path.parent / link.split("#")[0]
        if ":" not in link and not link.startswith("#") and target.resolve().parent != made:
            assert target.exists(), f"{path.name}: {link}"


@pytest.mark.parametrize("section", SECTIONS)
def test_each_page_is_linked_from_the_index_of_its_section(section: str) -> None:
    index = DOCS / section / "index.md"
    linked = {link.split("#")[0] for link in links_of(index)}
    assert {path.name for path in index.parent.glob("*.md")} - {"index.md"} <= linked


def test_nothing_of_the_site_comes_from_elsewhere() -> None:
    settings = (REPOSITORY / "mkdocs.yml").read_text(encoding="utf-8")
    for path in (REPOSITORY / "mkdocs.yml", *(DOCS / "assets").glob("*.css"), *(DOCS / "assets").glob("*.js")):
        fetched = re.findall(r"https?://(?!www\.w3\.org)\S+", path.read_text(encoding="utf-8"))
        assert not fetched, f"{path.name}: {fetched}"
    read = yaml.safe_load(settings)
    assert read["theme"]["font"] is False
    assert any(
        "iframe-worker" in script for script in read["extra"]["polyfills"]
    )  # else the plugin takes that of a CDN
    assert {"not_found", "omitted_files"} <= set(read["validation"]["nav"])
    assert read["validation"]["anchors"] == "warn"
