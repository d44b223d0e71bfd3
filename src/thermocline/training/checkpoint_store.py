"""Checkpoints on disk: each a folder that is there as a whole or not at all; the last few are kept."""

from __future__ import annotations

import json
import os
import shutil
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from thermocline.backbones.pretrained import file_sha256
from thermocline.errors import ThermoclineWarning, first_line

FORMAT = 1
MANIFEST = "manifest.json"  # of every file its SHA-256; a folder without one was never finished
CONTENT = "state.json"
PREFIX = "step-"

State = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint whose files were found as they were written.

    Attributes:
        step: Optimizer steps taken.
        folder: Where it lies.
        content: What is no tensor, as JSON has it.
    """

    step: int
    folder: Path
    content: dict[str, Any]

    def tensors(self, name: str) -> State:
        """Read the tensors that were written under a name."""
        state: State = load_file(str(self.folder / f"{name}.safetensors"))
        return state


class CheckpointStore:
    """The checkpoints of one run: safetensors and JSON below a folder of their own.

    A checkpoint is written to a temporary folder, flushed to the disk, and then renamed, which POSIX does atomically:
    whatever stops the program, what has the name of a checkpoint is one.

    Args:
        root: The folder; nothing is made before the first write.
        keep: How many checkpoints are kept, the newest.
    """

    def __init__(self, root: Path, *, keep: int = 2) -> None:
        self.root, self.keep = root, keep
        self.scratch = root / "best"  # for files that checkpoints share by hard links
        self._digests: dict[tuple[str, int, int], str] = {}
        self._own = False  # whether what lies here is of this run

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
                    "left out; the one before it is used, where there is one.",
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
        """
        self.root.mkdir(parents=True, exist_ok=True)
        draft, place = self.root / f".writing-{os.getpid()}", self.root / f"{PREFIX}{step:09d}"
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
            _flush(file)
        _flush(draft)
        if place.exists():  # one that was damaged, or an older run's
            self._discard(place)
        draft.rename(place)
        _flush(self.root)
        self._prune(step)
        return place

    def holds_any(self) -> bool:
        """Say whether there is a checkpoint, whole or not."""
        return bool(self._folders())

    def remove(self) -> None:
        """Remove all checkpoints: the run has ended and its predictor is saved. Other files in the folder stay."""
        for folder in self._folders():
            self._discard(folder)
        self.tidy()

    def adopt(self, checkpoint: Checkpoint | None) -> Path:
        """Prepare `scratch` for a run, empty or with the files that a checkpoint shares, and return it."""
        self.tidy()
        self.scratch.mkdir(parents=True)
        for name in checkpoint.content["shared"] if checkpoint else []:
            assert checkpoint
            _link(checkpoint.folder / f"{name}.safetensors", self.scratch / f"{name}.safetensors")
        return self.scratch

    def tidy(self) -> None:
        """Remove what no run needs, such as one that was killed leaves behind."""
        for left in [self.scratch, *self.root.glob(".writing-*"), *self.root.glob(".gone-*")]:
            shutil.rmtree(left, ignore_errors=True)
        if self.root.is_dir() and not any(self.root.iterdir()):
            self.root.rmdir()

    def _folders(self) -> list[Path]:
        """The checkpoints, oldest first."""
        return sorted(folder for folder in self.root.glob(f"{PREFIX}*") if folder.is_dir())

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


def _read(folder: Path) -> Checkpoint:
    """Read a checkpoint and compare every file with the manifest.

    Raises:
        OSError: A file is missing.
        ValueError: A file is not as it was written, or written by a newer version.
        KeyError: The manifest lacks an entry.
        TypeError: The manifest is something else.
    """
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    if manifest["format"] != FORMAT:
        raise ValueError(f"it has format {manifest['format']}, this version reads {FORMAT}")
    for name, digest in manifest["files"].items():
        if file_sha256(folder / name) != digest:
            raise ValueError(f"{name} is not as it was written")
    content = json.loads((folder / CONTENT).read_text(encoding="utf-8"))
    return Checkpoint(int(manifest["step"]), folder, content)


def _link(file: Path, place: Path) -> None:
    try:
        os.link(file, place)
    except OSError:  # a file system without hard links
        shutil.copyfile(file, place)


def _flush(path: Path) -> None:
    """Have the disk take a file, or the names in a folder (which Windows does not know), before going on."""
    if os.name == "nt" and path.is_dir():
        return
    handle = os.open(path, os.O_RDONLY if os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
