"""A hook of MkDocs: writes the pages of the reference from the code, while the site is built."""

from __future__ import annotations

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files


@event_priority(50)  # before the navigation is made of what is there
def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    for uri, content in {}.items():
        files.append(File.generated(config, uri, content=content))
    return files
