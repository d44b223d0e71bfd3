"""Checkpoints on disk: each a folder that is there as a whole or not at all; the last few are kept."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import uuid
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from thermocline.backbones.pretrained import file_sha256
from thermocline.errors import OutputExistsError, OutputWriteError, ResumeError, ThermoclineWarning, first_line, listing
from thermocline.training.flushing import flush
from thermocline.training.writing import size_of, told_unwritable

FORMAT = 1
MANIFEST = "manifest.json"  # of every file its SHA-256; a folder without one was never finished
CONTENT = "state.json"
PREFIX = "step-"
MARK = "thermocline-checkpoints.json"  # says that the folder is of a run, and of which
_MARK_PART = f"{MARK}.part"
_NAME = re.compile(r"step-\d{9,}")
_NAMES = re.compile(rf"{_NAME.pattern}|best|prefixes|\.writing-\d+|\.gone-{_NAME.pattern}-\d+")

_FILE = re.compile(r"\w[\w.\-]*")
_SHARED = re.compile(r"step-\d+")
_ONE_BEFORE = "the one before it is used, where there is one."

State = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint whose files were found as they were written.

    Attributes:
        step: Optimizer steps taken.
        folder: Where it lies.
        content: What is no tensor, as JSON has it.
        files: The names of its files, which were compared with the manifest.
    """

    step: int
    folder: Path
    content: dict[str, Any]
    files: frozenset[str]

    def tensors(self, name: str) -> State:
        """Read the tensors that were written under a name.

        Raises:
            ResumeError: There are none.
        """
        if f"{name}.safetensors" not in self.files:
            raise ResumeError(f"The checkpoint {str(self.folder)!r} lacks {name}.safetensors. Remove it: {_ONE_BEFORE}")
        state: State = load_file(str(self.folder / f"{name}.safetensors"))
        return state


class CheckpointStore:
    """The checkpoints of one run: safetensors and JSON below a folder of their own.

    A checkpoint is written to a temporary folder, flushed to the disk, and then renamed, which POSIX does atomically:
    whatever stops the program, what has the name of a checkpoint is one. A file marks the folder as one of a run; in a
    folder without it nothing is written or removed.

    Args:
        root: The folder; nothing is made before the first write.
        keep: How many checkpoints are kept, the newest.
    """

    def __init__(self, root: Path, *, keep: int = 2) -> None:
        self.root, self.keep = root, keep
        self.scratch = root / "best"  # for files that checkpoints share by hard links
        self._digests: dict[tuple[str, int, int], str] = {}
        self._own = False  # whether what lies here is of this run

    @property
    def identity(self) -> str | None:
        """The run that the folder was last used for; None before, or where a former version wrote it."""
        try:
            return str(_json(self.root / MARK)["identity"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def is_own(self) -> bool:
        """Say whether the folder is free or of a run: marked, without any file, or as a former version wrote it."""
        if not os.path.lexists(self.root) or any((self.root / name).is_file() for name in (MARK, _MARK_PART)):
            return True
        if not self.root.is_dir():
            return False
        if not any(names for _, _, names in os.walk(self.root)):
            return True
        inside = list(self.root.iterdir())
        return all(_NAMES.fullmatch(one.name) for one in inside) and any(_is_checkpoint(one) for one in inside)

    def check_own(self) -> None:
        """Check that the folder may be written to.

        Raises:
            OutputExistsError: It holds files that are not of a run.
        """
        if not self.is_own():
            inside = sorted(one.name for one in self.root.iterdir()) if self.root.is_dir() else []
            raise OutputExistsError(
                f"{str(self.root)!r} is where the checkpoints of this run would lie, and it holds something else"
                f"{': ' + listing(inside) if inside else ''}. Choose another path, move it away, or set "
                "env.checkpoint_every=0, which writes no checkpoints."
            )

    def newest(self) -> Checkpoint | None:
        """Read the newest checkpoint that is whole, and make this run its successor.

        One that is damaged is left out with a warning, for the one before.
        """
        for folder in reversed(self._folders()):
            try:
                found = _read(folder)
            except (OSError, ValueError, KeyError, TypeError) as error:
                warnings.warn(
                    f"The checkpoint {str(folder)!r} is damaged ({type(error).__name__}: {first_line(error)}). It is "
                    f"left out; {_ONE_BEFORE}",
                    ThermoclineWarning,
                    stacklevel=2,
                )
                continue
            self._own = True
            return found
        return None

    def write(
        self, step: int, content: Mapping[str, Any], tensors: Mapping[str, State], shared: Mapping[str, Path]
    ) -> Path:
        """Write a checkpoint, and remove those that are no longer kept.

        Args:
            step: Optimizer steps taken; it names the folder.
            content: What is no tensor; JSON takes it.
            tensors: States by name.
            shared: Files that are there already and never change, by name: linked, or copied where links are not known.

        Returns:
            Its folder.

        Raises:
            OutputWriteError: The disk is full; the checkpoints before it stay.
            OutputExistsError: The folder holds files that are not of a run.
        """
        place, needed = self.root / f"{PREFIX}{step:09d}", sum(map(size_of, tensors.values()))
        draft = self.root / f".writing-{os.getpid()}"
        try:
            with told_unwritable(place, needed, "Free space, or set env.checkpoint_every to write fewer."):
                self._mark(self.identity)
                self._write_draft(draft, step, content, tensors, shared)
                if place.exists():  # one that was damaged, or an older run's
                    self._discard(place)
                draft.rename(place)
                flush(self.root)
        except OutputWriteError:
            shutil.rmtree(draft, ignore_errors=True)  # what was written of it takes the space that others need
            raise
        self._prune(step)
        return place

    def _write_draft(
        self,
        draft: Path,
        step: int,
        content: Mapping[str, Any],
        tensors: Mapping[str, State],
        shared: Mapping[str, Path],
    ) -> None:
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir()
        for name, state in tensors.items():
            save_file(state, str(draft / f"{name}.safetensors"))
        for name, file in shared.items():
            _link(file, draft / f"{name}.safetensors")
        (draft / CONTENT).write_text(json.dumps(content), encoding="utf-8")
        digests = {file.name: self._digest(file) for file in sorted(draft.iterdir())}
        manifest = {"format": FORMAT, "step": step, "files": digests}
        (draft / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
        for file in draft.iterdir():
            flush(file)
        flush(draft)

    def holds_any(self) -> bool:
        """Say whether there is a checkpoint, whole or not."""
        return bool(self._folders())

    def remove(self) -> None:
        """Remove all checkpoints: the run has ended and its predictor is saved. Other files in the folder stay."""
        for folder in self._folders():
            self._discard(folder)
        self.tidy()
        self._unmark()  # what is left is not ours

    def adopt(self, checkpoint: Checkpoint | None) -> Path:
        """Prepare `scratch` for a run, empty or with the files that a checkpoint shares, and return it."""
        self.tidy()
        self._mark(self.identity if checkpoint else None)
        self.scratch.mkdir(parents=True)
        for name in checkpoint.content["shared"] if checkpoint else []:
            assert checkpoint
            _link(checkpoint.folder / f"{name}.safetensors", self.scratch / f"{name}.safetensors")
        return self.scratch

    def tidy(self) -> None:
        """Remove what no run needs, such as one that was killed leaves behind; of other tools nothing.

        Raises:
            OutputExistsError: The folder holds files that are not of a run.
        """
        self.check_own()
        inside = list(self.root.iterdir()) if self.root.is_dir() else []
        for left in inside:
            if _NAMES.fullmatch(left.name) and left.name != "prefixes" and not _NAME.fullmatch(left.name):
                shutil.rmtree(left, ignore_errors=True)
        if self.root.is_dir() and {one.name for one in self.root.iterdir()} <= {MARK, _MARK_PART}:
            self._unmark()
            self.root.rmdir()

    def _mark(self, identity: str | None) -> None:
        """Make the folder, marked as one of this run.

        Raises:
            OutputExistsError: It holds files that are not of a run.
        """
        self.check_own()
        if identity is not None:
            return
        self.root.mkdir(parents=True, exist_ok=True)
        part = self.root / _MARK_PART
        part.write_text(json.dumps({"format": FORMAT, "identity": uuid.uuid4().hex}) + "\n", encoding="utf-8")
        part.replace(self.root / MARK)

    def _unmark(self) -> None:
        for name in (MARK, _MARK_PART):
            (self.root / name).unlink(missing_ok=True)

    def _folders(self) -> list[Path]:
        """The checkpoints, oldest first."""
        return sorted(one for one in self.root.glob(f"{PREFIX}*") if _NAME.fullmatch(one.name) and one.is_dir())

    def _prune(self, step: int) -> None:
        """Remove checkpoints beyond the last few, those of steps yet to be taken, and those of a run before."""
        folders = self._folders()
        current = [folder for folder in folders if folder.name <= f"{PREFIX}{step:09d}"]
        kept = current[-self.keep :] if self._own else current[-1:]
        for folder in folders:
            if folder not in kept:
                self._discard(folder)
        self._own = True

    def _discard(self, folder: Path) -> None:
        """Remove a folder such that half of it never bears its name."""
        gone = folder.with_name(f".gone-{folder.name}-{os.getpid()}")
        shutil.rmtree(gone, ignore_errors=True)
        folder.rename(gone)
        shutil.rmtree(gone)

    def _digest(self, file: Path) -> str:
        """SHA-256 of a file; that of a shared one is computed once."""
        about = file.stat()
        key = (file.name, about.st_ino, about.st_mtime_ns)
        if about.st_nlink == 1:
            return file_sha256(file)
        if key not in self._digests:
            self._digests[key] = file_sha256(file)
        return self._digests[key]


def _is_checkpoint(folder: Path) -> bool:
    """Whether a folder has the manifest of a checkpoint, without comparing its files."""
    try:
        manifest = _json(folder / MANIFEST)
        return bool(_NAME.fullmatch(folder.name)) and {"format", "step", "files"} <= set(manifest)
    except (OSError, ValueError, TypeError):
        return False


def _read(folder: Path) -> Checkpoint:
    """Read a checkpoint and compare every file with the manifest.

    Raises:
        OSError: A file is missing.
        ValueError: A file is not as it was written, or written by a newer version.
        KeyError: The manifest lacks an entry.
        TypeError: The manifest is something else.
    """
    manifest = _json(folder / MANIFEST)
    if manifest["format"] != FORMAT:
        raise ValueError(f"it has format {manifest['format']}, this version reads {FORMAT}")
    files = dict(manifest["files"])
    for name, digest in files.items():
        if not _FILE.fullmatch(name):
            raise ValueError(f"{name[:100]!r} is no name of a file in it: it was manipulated")
        _check_regular(folder / name)
        if file_sha256(folder / name) != digest:
            raise ValueError(f"{name} is not as it was written")
    if CONTENT not in files:
        raise ValueError(f"its {MANIFEST} does not list {CONTENT}: it was manipulated")
    content = _json(folder / CONTENT)
    for name in content.get("shared", []):
        if not _SHARED.fullmatch(name) or f"{name}.safetensors" not in files:
            raise ValueError(f"{name[:100]!r} is none of its files: it was manipulated")
    return Checkpoint(int(manifest["step"]), folder, content, frozenset(files))


def _json(file: Path) -> dict[str, Any]:
    _check_regular(file)
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except RecursionError:
        raise ValueError(f"{file.name} is nested too deeply: it was manipulated") from None


def _check_regular(file: Path) -> None:
    """Check that a file is one: a pipe would be waited for without end, and a link may lead anywhere.

    Raises:
        OSError: It is missing.
        ValueError: It is something else.
    """
    if not stat.S_ISREG(file.lstat().st_mode):
        raise ValueError(f"{file.name} is no regular file: it was manipulated")


def _link(file: Path, place: Path) -> None:
    try:
        os.link(file, place)
    except OSError:  # a file system without hard links
        shutil.copyfile(file, place)
