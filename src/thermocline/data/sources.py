"""Where a source of rows lies: the folder from which relative paths in it start."""

from __future__ import annotations

from pathlib import Path


def image_root(image_folder: str | None, folder: Path | None) -> Path | None:
    """Return where relative image paths start: `data.image_folder`, else the folder of the file that was read."""
    return Path(image_folder).expanduser() if image_folder else folder
