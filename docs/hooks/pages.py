"""A hook of MkDocs: the navigation from the folders, and links that leave `docs/` as links into the repository."""

from __future__ import annotations

import posixpath
import re
import tomllib
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

SECTIONS = {
    "tutorials": "Tutorials",
    "how-to": "How-to",
    "reference": "Reference",
    "explanation": "Explanation",
}
TOP = {"ARCHITECTURE.md": "explanation", "OTHER_NAMES.md": "reference"}
"""Pages that lie in `docs/` itself, and the section that shows them."""
_HEADING_OR_LINK = re.compile(r"^## (.+)$|\]\(([^)\s]+)\)", flags=re.MULTILINE)
_CODE = re.compile(r"^(`{3,}).*?^\1$", flags=re.MULTILINE | re.DOTALL)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Take the address of the repository from pyproject.toml, where one stands.

    It is not the theme's `repo_url`: from that it would fetch the number of stars, while a page is read.
    """
    project = tomllib.loads((_root(config) / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    urls = {name.lower(): url for name, url in project.get("urls", {}).items()}
    config.extra["repository"] = (urls.get("repository") or urls.get("source") or "").rstrip("/")
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Make the navigation: the start page, then a tab for each section."""
    pages = {file.src_uri: file for file in files.documentation_pages()}
    nav: list[object] = [{"Start": "index.md"}] if "index.md" in pages else []
    for folder, title in SECTIONS.items():
        own = _in_order(folder, pages)
        if own:
            nav.append({title: own})
    config.nav = nav
    return files


def _in_order(folder: str, pages: dict[str, File]) -> list[object]:
    """Return the pages of a folder: its index, then those it links to, below its headings, then the others by name."""
    index = f"{folder}/index.md"
    left = sorted(uri for uri in pages if folder in (posixpath.dirname(uri), TOP.get(uri)) and uri != index)
    found: list[object] = [index] if index in pages else []
    group = found
    for heading, link in _HEADING_OR_LINK.findall(pages[index].content_string if index in pages else ""):
        uri = posixpath.normpath(posixpath.join(folder, link.split("#")[0]))
        if heading:
            group = []
            found.append({heading: group})
        elif uri in left:
            left.remove(uri)
            group.append(uri)
    return [one for one in (*found, *left) if not isinstance(one, dict) or any(one.values())]


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point links that leave `docs/` to the repository; without its address their text stays, as text."""
    if page.file.src_uri == "index.md":
        page.meta["hide"] = ["navigation"]
    folder = posixpath.dirname(page.file.src_uri)
    repository = config.extra["repository"]
    blocks: list[str] = []

    def hidden(block: re.Match[str]) -> str:
        blocks.append(block[0])
        return f"\0{len(blocks) - 1}\0"

    def pointed(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join("docs", folder, link[2]))
        if ":" in link[2] or link[2].startswith(("#", "/")) or target.startswith("docs/"):
            return link[0]
        return f"[{link[1]}]({repository}/blob/main/{target})" if repository else link[1]

    text = _CODE.sub(hidden, markdown)
    text = re.sub(r"\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)", pointed, text)
    return re.sub(r"\0(\d+)\0", lambda found: blocks[int(found[1])], text)


def _root(config: MkDocsConfig) -> Path:
    return Path(config.config_file_path).parent
