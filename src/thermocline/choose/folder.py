"""Where fits that are compared lie while that lasts: a folder beside the predictor's, or a temporary one."""

from __future__ import annotations

import shutil
import tempfile
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from thermocline.errors import OutputExistsError, ThermoclineWarning

MARK = "thermocline.search"
_LENGTH = len(uuid.uuid4().hex)
JOURNAL, STATE = "journal.log", "race.json"
SUFFIX = "-search"
RACE_SUFFIX = "-race"
"""What the folder's name has behind that of the predictor's path."""


@dataclass(frozen=True)
class SearchFolder:
    """The trials of a search or a race, as this process saves them.

    Attributes:
        root: The folder.
        owner: Tells this folder from those of other processes that share a study.
        logs: Where logs of trials are kept; None where the search has no path.
    """

    root: Path
    owner: str
    logs: Path | None

    @property
    def journal(self) -> Path:
        """The file of a study that has no other storage."""
        return self.root / JOURNAL

    @property
    def lasts(self) -> bool:
        """Whether it is there in the next process."""
        return self.logs is not None

    def trial(self, number: int) -> Path:
        """Return where a trial is saved."""
        return self.root / folder_of(number)

    def discard(self, number: int) -> None:
        """Remove a trial; its logs stay."""
        for folder in (self.trial(number), self.root / f"{folder_of(number)}-checkpoints"):
            shutil.rmtree(folder, ignore_errors=True)

    def remove(self) -> None:
        """Remove the folder, once the predictor is saved; logs of trials move beside those of other fits."""
        if self.logs is not None:
            for folder in sorted(self.root.glob("trial-*-logs")):
                target = self.logs / folder.name.removesuffix("-logs")
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.rmtree(target, ignore_errors=True)
                shutil.move(folder, target)
        shutil.rmtree(self.root, ignore_errors=True)


@contextmanager
def search_folder(path: Path | None, *, resume: bool, suffix: str = SUFFIX) -> Iterator[SearchFolder]:
    """Give the folder of a search or a race.

    Args:
        path: Where the predictor is saved; the caller holds its lock. None for a temporary folder.
        resume: Whether one that was stopped there goes on.
        suffix: What its name has behind that of the path.

    Raises:
        OutputExistsError: The folder holds other files.
    """
    if path is None:
        with tempfile.TemporaryDirectory(prefix="thermocline-search-") as scratch:
            yield SearchFolder(Path(scratch), uuid.uuid4().hex, None)
        return
    path = path.absolute()
    root = path.with_name(f"{path.name}{suffix}")
    what = suffix.removeprefix("-")
    if root.exists() and not _is_own(root):
        raise OutputExistsError(
            f"{str(root)!r} is where the trials of this {what} would lie, and it holds something else. Choose another "
            "path, or move it away."
        )
    if root.exists() and not resume:
        if any((root / name).exists() for name in (JOURNAL, STATE)) or any(root.glob("trial-*")):
            warnings.warn(
                f"{str(root)!r} holds a {what} that did not end. resume=True would continue it; this one starts anew "
                "and replaces it.",
                ThermoclineWarning,
                stacklevel=5,
            )
        shutil.rmtree(root)
    root.mkdir(parents=True, exist_ok=True)
    yield SearchFolder(root, _owner(root / MARK), path.with_name(f"{path.name}-logs"))


def _owner(mark: Path) -> str:
    """Return what a mark holds; a new one is written where there is none, or half of one."""
    held = mark.read_text(encoding="utf-8").strip() if mark.is_file() else ""
    if len(held) != _LENGTH:
        held = uuid.uuid4().hex
        mark.write_text(f"{held}\n", encoding="utf-8")
    return held


def _is_own(root: Path) -> bool:
    return root.is_dir() and ((root / MARK).is_file() or not any(root.iterdir()))


def folder_of(number: int) -> str:
    """Return the name of a trial's folder; numbers count from 1."""
    return f"trial-{number:04d}"
