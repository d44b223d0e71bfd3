"""What tells whether the files of a run are still the same: the size of each, and the content of some."""

from __future__ import annotations

import hashlib
import os

import numpy as np

from thermocline.data.batches import Rows

FILES = "files: "
GROUPS = 200  # sizes are compared file by file up to so many files, else by groups of neighbours
SAMPLE = 64  # files whose content is compared, evenly spread
READ = 2**20  # bytes that are read of each of them at most


def file_facts(rows: Rows, what: str) -> dict[str, str]:
    """Return facts about the files that rows are read from: equal where these are, wherever they lie, however old.

    A file of another size always shows. Another content of the same size shows if the file is in the sample, as all
    are up to 64.

    Args:
        rows: The rows.
        what: `training` or `validation`, for the names of facts.
    """
    files = [one for part in rows.parts.values() for one in part.files()]
    if not files:
        return {}
    facts = {}
    sizes = [_size(path) for _, path in files]
    for group in np.array_split(np.arange(len(files)), min(GROUPS, len(files))):
        first, last = files[group[0]][0], files[group[-1]][0]
        names = repr(first) if len(group) == 1 else f"{first!r} to {last!r} ({len(group)} files)"
        facts[f"{FILES}size of {what} image {names}"] = _told([sizes[number] for number in group])
    for number in np.unique(np.linspace(0, len(files) - 1, min(SAMPLE, len(files))).round().astype(int)):
        name, path = files[number]
        facts[f"{FILES}content of {what} image {name!r}"] = _content(path)
    return facts


def _told(sizes: list[int | None]) -> str:
    """Return the sizes of some files: of one in bytes, of several their sum and a hash of all."""
    known = [size for size in sizes if size is not None]
    absent = f", {len(sizes) - len(known)} absent" if len(known) < len(sizes) else ""
    several = f" in all, {hashlib.sha256(repr(sizes).encode()).hexdigest()[:8]}" if len(sizes) > 1 else ""
    return f"{sum(known):,} bytes{several}{absent}"


def _size(path: str) -> int | None:
    try:
        return os.stat(path).st_size  # noqa: PTH116 - many, and pathlib takes longer
    except (OSError, ValueError):  # the error is raised where the file is read
        return None


def _content(path: str) -> str:
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            return hashlib.sha256(file.read(READ)).hexdigest()[:16]
    except (OSError, ValueError):
        return "absent"
