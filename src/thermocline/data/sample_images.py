"""Image files of the sample frames: each written once, into a folder of the user's own."""

from __future__ import annotations

import getpass
import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL import Image


def write_images(
    images: np.ndarray, order: np.ndarray, side: int, *, name: str, folder: str | Path | None = None
) -> list[str]:
    """Write images of these numbers as PNG files, each once, and return their paths, in this order.

    A file is there whole or not at all, whoever else is writing. Its name is a number and a digest of the pixels, so
    it holds no label.

    Args:
        images: uint8 `(images, rows, columns)`, grey.
        order: Which of them; numbers may repeat.
        side: The size of the files in pixels.
        name: Of the sample, and so of its folder.
        folder: Where to write; None is a folder of the user's below the temporary one.
    """
    from PIL import Image

    place = place_for(name, folder)
    paths: dict[int, str] = {}
    for number in map(int, np.unique(order)):
        digest = hashlib.sha256(images[number].tobytes() + bytes([side])).hexdigest()[:12]
        path = place / f"{number:04d}_{digest}.png"
        write_once(path, lambda number=number: _sized(Image.fromarray(images[number]), side))  # type: ignore[misc]
        paths[number] = str(path)
    return [paths[int(number)] for number in order]


def place_for(name: str, folder: str | Path | None) -> Path:
    """Return the folder for a sample's files, which is there then: the one that is given, or one of the user's own."""
    place = own_folder(name) if folder is None else Path(folder).expanduser().resolve()
    place.mkdir(parents=True, exist_ok=True)
    return place


def write_once(path: Path, make: Callable[[], Image.Image]) -> None:
    """Write a picture as a PNG file, unless it is there; the file is there whole or not at all.

    Args:
        path: Of the file.
        make: Returns the picture; called where it has to be written.
    """
    if path.exists():
        return
    handle, unfinished = tempfile.mkstemp(suffix=".part", dir=path.parent)
    with os.fdopen(handle, "wb") as file:
        make().save(file, "PNG")
    Path(unfinished).replace(path)


def _sized(picture: Image.Image, side: int) -> Image.Image:
    from PIL import Image

    return picture if picture.size == (side, side) else picture.resize((side, side), Image.Resampling.BICUBIC)


def own_folder(name: str) -> Path:
    """Return a folder of this user's below the temporary one; another's folder of that name is not used."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = "user"
    folder = Path(tempfile.gettempdir()).resolve() / f"thermocline-{user}" / name
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if hasattr(os, "getuid") and folder.parent.stat().st_uid != os.getuid():
        return Path(tempfile.mkdtemp(prefix="thermocline-"))
    return folder
