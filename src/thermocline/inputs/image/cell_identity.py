"""Bytes that tell image cells from others: by the names written in them, or by what the files hold now."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from thermocline.inputs.image.cells import is_missing, path_of, source_of
from thermocline.inputs.image.files import find_image

_ORIENTATION = 0x0112  # the EXIF tag


def cell_names(cells: Iterable[object]) -> Iterator[bytes]:
    """Yield bytes for each cell: a path as it is written, else a hash of the image; empty where there is none."""
    for cell in cells:
        yield _identity(cell, lambda path: f"{path}\n".encode(errors="surrogatepass"))


def cell_contents(cells: Iterable[object], folder: Path | None) -> Iterator[bytes]:
    """Yield bytes for each cell that change when its pixels change.

    Args:
        cells: Paths, encoded bytes, PIL images, arrays, dicts; or missing.
        folder: Where relative paths start.

    Yields:
        Of a path the file's resolved path, size in bytes and time of change; of all others what `cell_names` gives: of
        encoded bytes and text a hash; of a PIL image one of its mode, size, palette, transparency, orientation and
        pixels; of an array one of its shape, type and values.
    """
    for cell in cells:
        yield _identity(cell, lambda path: _file(find_image(path, folder)))


def _identity(cell: object, of_path: Callable[[str], bytes]) -> bytes:
    if is_missing(cell):
        return b""
    try:
        source = source_of(cell)
    except (OSError, TypeError):  # the error is raised where the image is read
        source = str(cell)
    if isinstance(source, str):
        return of_path(source)
    if isinstance(source, bytes):
        return hashlib.sha256(source).digest()
    facts = _array_facts(source) if isinstance(source, np.ndarray) else _picture_facts(source)
    return hashlib.sha256(repr(facts).encode() + source.tobytes()).digest()


def cell_files(cells: Iterable[object], folder: Path | None) -> Iterator[tuple[str, str]]:
    """Yield for each cell that holds a path this path as written, and where the file is."""
    start = "" if folder is None else str(folder)
    for cell in cells:
        name = path_of(cell)
        if name is not None:
            yield name, os.path.join(start, name)  # noqa: PTH118 - many, and pathlib takes ten times as long


def _file(path: Path) -> bytes:
    try:
        stat = path.stat()
    except OSError:  # the error is raised where the image is read
        return f"{path.absolute()}\nabsent\n".encode(errors="surrogatepass")
    return f"{path.resolve()}\n{stat.st_size} {stat.st_mtime_ns}\n".encode(errors="surrogatepass")


def _picture_facts(image: Any) -> tuple[object, ...]:
    palette = image.getpalette(None) if image.palette is not None else None
    facts = (image.mode, image.size, image.info.get("transparency"), image.getexif().get(_ORIENTATION))
    return (*facts, image.palette and image.palette.mode, palette)


def _array_facts(array: np.ndarray) -> tuple[object, ...]:
    return array.shape, array.dtype.str
