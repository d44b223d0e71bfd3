"""A hook of MkDocs: writes pages of the reference from the code, while the site is built."""

from __future__ import annotations

import re
from collections.abc import Callable

from errors_page import errors_markdown
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files

from thermocline.cli.reference import commands_markdown
from thermocline.config.reference import metrics_markdown, options_markdown, presets_markdown

PAGES: dict[str, Callable[[], str]] = {
    "options": options_markdown,
    "presets": presets_markdown,
    "metrics": metrics_markdown,
    "cli": commands_markdown,
    "errors": errors_markdown,
}
"""Name of a page below `reference/` → what returns it, as Markdown."""


@event_priority(50)  # before the navigation is made of what is there
def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    for name, written in PAGES.items():
        content = re.sub(r"^(### `([\w.]+)`)$", r"\1 {#\2}", written(), flags=re.MULTILINE)  # an option's name as it is
        files.append(File.generated(config, f"reference/{name}.md", content=content))
    return files
