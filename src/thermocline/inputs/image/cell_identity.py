"""Bytes that tell image cells from others: by the names written in them, or by what the files hold now."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from thermocline.inputs.image.files import find_image, is_missing

_ORIENTATION = 0x0112  # the EXIF tag


def cell_names(cells: Iterable[object]) -> Iterator[bytes]:
    """Yield bytes for each cell: a path as it is written, else a hash of the bytes; empty where there is no image."""
    for cell in cells:
        if isinstance(cell, bytes | bytearray | memoryview):
            yield hashlib.sha256(cell).digest()
        elif hasattr(cell, "tobytes"):
            yield hashlib.sha256(cell.tobytes()).digest()
        else:
            yield b"" if is_missing(cell) else f"{cell}\n".encode()


def cell_contents(cells: Iterable[object], folder: Path | None) -> Iterator[bytes]:
    """Yield bytes for each cell that change when its pixels change.

    Args:
        cells: Paths, bytes, PIL images; or missing.
        folder: Where relative paths start.

    Yields:
        Of a path the file's resolved path, size in bytes and time of change; of a PIL image mode, size, palette,
        transparency, orientation and a hash of the pixels; of bytes their hash.
    """
    for cell, name in ((cell, next(cell_names([cell]))) for cell in cells):
        if isinstance(cell, str | Path) and not is_missing(cell):
            yield _file(find_image(str(cell), folder))
        else:
            yield name + (_format(cell) if hasattr(cell, "getpalette") else _layout(cell))


def _file(path: Path) -> bytes:
    try:
        stat = path.stat()
    except OSError:  # the error is raised where the image is read
        return f"{path.absolute()}\nabsent\n".encode()
    return f"{path.resolve()}\n{stat.st_size} {stat.st_mtime_ns}\n".encode()


def _format(image: Any) -> bytes:
    palette = image.getpalette(None) if image.palette is not None else None
    facts = (image.mode, image.size, image.info.get("transparency"), image.getexif().get(_ORIENTATION))
    return repr((*facts, image.palette and image.palette.mode, palette)).encode()


def _layout(cell: object) -> bytes:
    """Return shape and dtype of an array; nothing of other cells."""
    facts = (getattr(cell, "shape", None), str(getattr(cell, "dtype", "")))
    return repr(facts).encode() if facts[0] is not None else b""
