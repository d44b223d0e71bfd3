"""Reads the cells of image columns, and finds those that cannot be read."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from thermocline.data.columns import Column
from thermocline.inputs.image.cells import cell_text, is_missing, path_of, reason_of, source_of
from thermocline.inputs.image.grey import Range, image_of_array, is_deep, scaled
from thermocline.inputs.image.headers import opened, tell_large

if TYPE_CHECKING:
    from PIL.Image import Image


def open_image(value: object, folder: Path | None = None, grey: Range | None = None, *, reduced: bool = False) -> Image:
    """Read a cell's image as RGB; transparency becomes white, EXIF rotation is undone.

    Args:
        value: A path (relative ones start at `folder`), encoded bytes, base64 text or a data URL, a PIL image, an
            array, or a dict of `bytes` and `path`.
        folder: Where relative paths start.
        grey: The range that values of more than 8 bits are scaled by; by default that of their type (`grey`).
        reduced: Decode at the smallest size that the format has: a JPEG file is read to its end, and decoded at an
            eighth of its size, in a fifth of the time.

    Raises:
        OSError: The file is missing, cannot be decoded, or is too large; an address.
    """
    from PIL import Image as pil
    from PIL import ImageOps

    try:
        image = _decoded(value, folder, reduced=reduced)
        if isinstance(image, np.ndarray):
            image = image_of_array(image, grey)
        image = ImageOps.exif_transpose(image)
        if is_deep(image):
            return pil.fromarray(scaled(image, grey)).convert("RGB")
        if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
            image = image.convert("RGBA")
            white = pil.new("RGBA", image.size, (255, 255, 255, 255))
            return pil.alpha_composite(white, image).convert("RGB")
        return image.convert("RGB")
    except (OSError, MemoryError):
        raise
    except Exception as error:  # a damaged file can raise nearly anything in Pillow's readers
        raise OSError(str(error) or type(error).__name__) from error


def deep_image(value: object, folder: Path | None = None) -> Image | np.ndarray | None:
    """Return a cell's image as it is where it has values of more than 8 bits; None, undecoded, where it has 8.

    Raises:
        OSError: As `open_image`.
        TypeError: No image.
    """
    source = source_of(value)
    if isinstance(source, str | bytes):
        with opened(find_image(source, folder) if isinstance(source, str) else source) as header:
            if not is_deep(header):
                return None
        return _decoded(value, folder)
    return source if is_deep(source) else None


def _decoded(value: object, folder: Path | None, *, reduced: bool = False) -> Image | np.ndarray:
    """Return a cell's image as it is, decoded, or its array."""
    source = source_of(value)
    if isinstance(source, np.ndarray):
        return source
    if isinstance(source, str):
        source = find_image(source, folder).read_bytes()
    if isinstance(source, bytes):
        source = opened(source)
        tell_large(source.width, source.height, cell_text(value))
        if reduced:
            source.draft(source.mode, (1, 1))
    source.load()
    return source


def find_image(path: str, folder: Path | None) -> Path:
    """Return a path below `folder` where it is relative, else as given."""
    return Path(path) if folder is None else folder / path


def picture_key(cell: object, folder: Path | None) -> Hashable:
    """Return what is equal for two cells that hold the same picture: a file under whatever name, or the same bytes."""
    path = path_of(cell)
    if path is not None:
        try:
            stat = find_image(path, folder).stat()
        except (OSError, ValueError):  # the error is raised where the image is read
            return path
        return stat.st_dev, stat.st_ino
    try:
        source = source_of(cell)
    except (OSError, TypeError):
        return id(cell)
    return hashlib.blake2b(source, digest_size=16).digest() if isinstance(source, bytes) else id(cell)


def start_of(folder: Path | None) -> str:
    """Return a sentence for messages that says where relative paths start, empty where there are none."""
    return "" if folder is None else f"Relative paths start at {str(folder)!r}. "


def relative_name(cell: object) -> str | None:
    """Return the path that a cell holds where it is relative, else None."""
    path = path_of(cell)
    return None if path is None or os.path.isabs(path) else path  # noqa: PTH117 - many


def unreadable_rows(
    frame: pd.DataFrame, columns: Sequence[Column], folder: Path | None, *, decode: bool
) -> dict[int, str]:
    """Find the rows whose images cannot be read.

    Args:
        frame: The rows.
        columns: The image columns.
        folder: Where relative paths start.
        decode: Decode every image (finds truncated files too), or only look whether files are there.

    Returns:
        Row position → what is wrong, for the first fault of a row.
    """
    faults: dict[int, str] = {}
    for column in columns:
        for row, value in enumerate(frame[column.name]):
            if row in faults or is_missing(value):
                continue
            try:
                if decode:
                    open_image(value, folder, reduced=True)
                else:
                    source = source_of(value)
                    if isinstance(source, str) and not find_image(source, folder).is_file():
                        raise FileNotFoundError("no such file")
            except (OSError, TypeError) as error:
                faults[row] = f"column {column.name!r}: {cell_text(value)}: {reason_of(error)}"
    return faults


def decoded_size(value: object, folder: Path | None) -> int:
    """Return the bytes that a cell's image has as RGB, by the header of its file; 0 where that cannot be read.

    An image that is open already (Pillow's, an array) is not decoded again, so it counts 0 as well.
    """
    try:
        source = source_of(value)
        if not isinstance(source, str | bytes):
            return 0
        with opened(find_image(source, folder) if isinstance(source, str) else source) as image:
            return 3 * image.width * image.height
    except Exception:  # a damaged file can raise nearly anything in Pillow's readers; decoding raises the error
        return 0
