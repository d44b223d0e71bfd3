"""The files of a saved predictor: what is read is listed in its manifest, a regular file, and inside its folder."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from thermocline.backbones.pretrained import file_sha256
from thermocline.errors import ArtifactError

MANIFEST = "thermocline.json"
WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class ListedFiles:
    """The files that the manifest of a saved predictor lists, each as it was written.

    Attributes:
        path: The folder.
        digests: The SHA-256 of each file, by its name below the folder.
    """

    path: Path
    digests: Mapping[str, str]

    def check(self) -> None:
        """Compare every file with its digest.

        Raises:
            ArtifactError: One is missing, lies elsewhere, is no regular file, or is not as it was written.
        """
        for name, digest in self.digests.items():
            file = self.file(name)
            if file_sha256(file) != digest:
                raise ArtifactError(
                    f"The saved predictor {str(self.path)!r} is damaged: {name} is not as it was written "
                    f"({file.stat().st_size} bytes now). Restore it from a copy."
                )

    def file(self, name: str) -> Path:
        """Return where a file of the manifest lies.

        Raises:
            ArtifactError: It is not listed, is missing, lies elsewhere, or is no regular file.
        """
        if name not in self.digests:
            raise _manipulated(self.path, name, f"which {MANIFEST} does not list")
        return regular_file(self.path, name)

    def text(self, name: str) -> str:
        """Return what a file of text holds."""
        return self.file(name).read_text(encoding="utf-8")

    def json(self, name: str) -> Any:
        """Return what a file of JSON holds.

        Raises:
            ValueError: It is no JSON.
        """
        return parsed(self.text(name), name)

    def folder(self) -> Path:
        """Return a folder for libraries that look into the folders of towers by themselves: none holds a file too many.

        It is the predictor's own, or a copy without files that are not listed, which lasts as long as the program.
        """
        listed = {PurePosixPath(name) for name in self.digests}
        inside = {self.path / name.parts[0] for name in listed if len(name.parts) > 1}
        found = (Path(at) / name for one in inside for at, _, names in os.walk(one) for name in names)
        if all(PurePosixPath(one.relative_to(self.path).as_posix()) in listed for one in found):
            return self.path
        copy = Path(tempfile.mkdtemp(prefix="thermocline-"))
        atexit.register(shutil.rmtree, copy, ignore_errors=True)
        for name in self.digests:
            if name != WEIGHTS:
                (copy / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(self.file(name), copy / name)
        return copy


def regular_file(folder: Path, name: str) -> Path:
    """Return a file of a saved predictor's folder.

    A link is followed inside the folder, and to the files of a hub's cache, which holds folders of links.

    Raises:
        ArtifactError: It is missing, lies elsewhere, or is no regular file: a pipe would be waited for without end.
    """
    pure = PurePosixPath(name)
    if pure.is_absolute() or ".." in pure.parts or Path(name).is_absolute() or "\0" in name:
        raise _manipulated(folder, name, "which is no name of a file in it")
    root, file = Path(os.path.realpath(folder)), Path(os.path.realpath(folder / name))
    blobs = [root.parents[1] / "blobs"] if root.parent.name == "snapshots" else []
    if not any(file.is_relative_to(one) for one in (root, *blobs)):
        raise _manipulated(folder, name, f"which is a link to {str(file)!r}, outside of it")
    try:
        mode = file.stat().st_mode
    except OSError:
        raise ArtifactError(
            f"The saved predictor {str(folder)!r} is incomplete: {name} is missing. Restore it from a copy."
        ) from None
    if not stat.S_ISREG(mode):
        raise _manipulated(folder, name, "which is no regular file (but a folder, a pipe, a socket or a device)")
    return file


def read_manifest(folder: Path) -> Any:
    """Return the manifest of a saved predictor, whatever JSON it holds.

    Raises:
        ArtifactError: It is no regular file.
        OSError: It cannot be read.
        ValueError: It is no JSON.
    """
    return parsed(regular_file(folder, MANIFEST).read_text(encoding="utf-8"), MANIFEST)


def parsed(text: str, name: str) -> Any:
    """Return what JSON text holds.

    Raises:
        ValueError: It is no JSON, or nested too deeply.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError(f"{name} is nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"{name} is no JSON: {error}") from None


def _manipulated(folder: Path, name: str, why: str) -> ArtifactError:
    return ArtifactError(
        f"The saved predictor {str(folder)!r} is damaged or was manipulated: it is to be read from {name[:200]!r}, "
        f"{why}. Restore it from a copy that you trust."
    )
