"""Has the disk take files and folders before a program relies on them."""

from __future__ import annotations

import os
from pathlib import Path


def flush(path: Path) -> None:
    """Have the disk take a file, or the names in a folder (which Windows does not know), before going on."""
    if os.name == "nt" and path.is_dir():
        return
    handle = os.open(path, os.O_RDONLY if os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def flush_tree(folder: Path) -> None:
    """Have the disk take all files and folders below a folder, and the folder itself; links are left as they are."""
    for at, _, names in os.walk(folder):
        for name in names:
            file = Path(at) / name
            if file.is_file() and not file.is_symlink():
                flush(file)
        flush(Path(at))
