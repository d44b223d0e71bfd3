"""Reads the size of an image from its header; pixels are decoded only where the header does not have it."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from thermocline.data.row_names import first_rows
from thermocline.errors import ImageReadError, counted
from thermocline.inputs.image.cells import cell_text, is_missing, path_of, reason_of, source_of
from thermocline.inputs.image.files import find_image, start_of
from thermocline.inputs.image.headers import opened

_ORIENTATION = 0x0112  # the EXIF tag
_SWAPPED = frozenset({5, 6, 7, 8})  # its values that swap height and width
_METADATA = (b"eXIf", b"iTXt", b"zTXt", b"tEXt")  # chunks of a PNG with orientation; may follow its pixels
_READ = frozenset({"exif", "Raw profile type exif", "XML:com.adobe.xmp", "xmp"})  # those that Pillow read
_TAIL = 65_536  # bytes at the end of a PNG that are searched for such chunks


def image_size(value: object, folder: Path | None = None) -> tuple[int, int]:
    """Return the height and width that `open_image` gives for a cell, EXIF rotation undone.

    Args:
        value: The cell, as for `open_image`.
        folder: Where relative paths start.

    Raises:
        OSError: The file is missing or its header cannot be read.
    """
    try:
        source = source_of(value)
        if isinstance(source, np.ndarray):
            return int(source.shape[0]), int(source.shape[1])
        if not isinstance(source, str | bytes):
            return _upright_size(source)
        place = find_image(source, folder) if isinstance(source, str) else source
        with opened(place) as image:
            # for the EXIF data of a PNG without any, Pillow would decode all pixels
            plain = image.format == "PNG" and not image.info.keys() & _READ and not _has_metadata_at_end(place)
            return (image.height, image.width) if plain else _upright_size(image)
    except (OSError, MemoryError):
        raise
    except Exception as error:  # a damaged header can raise nearly anything in Pillow's readers
        raise OSError(str(error) or type(error).__name__) from error


def stored_size(value: object, folder: Path | None = None) -> tuple[int, int] | None:
    """Return the width and height that a file's image has as it is stored, where its EXIF orientation swaps them."""
    path = path_of(value)
    if path is None:
        return None
    with opened(find_image(path, folder)) as image:
        turned = image.format != "TIFF" and image.getexif().get(_ORIENTATION) in _SWAPPED
        return image.size if turned else None


def _upright_size(image: Any) -> tuple[int, int]:
    width, height = image.size
    # Pillow swaps the size of a TIFF itself when it opens it
    swapped = image.format != "TIFF" and image.getexif().get(_ORIENTATION) in _SWAPPED
    return (width, height) if swapped else (height, width)


def _has_metadata_at_end(place: Path | bytes) -> bool:
    """Whether a PNG has texts or EXIF data after its pixels."""
    with place.open("rb") if isinstance(place, Path) else io.BytesIO(place) as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
        tail = file.read()
    return any(chunk in tail for chunk in _METADATA)


def image_sizes(cells: Sequence[object], index: pd.Index[Any], folder: Path | None, *, where: str) -> np.ndarray:
    """Return the height and width of every image, int64 `(rows, 2)`.

    Args:
        cells: The cells of the image column.
        index: The frame's index, for messages.
        folder: Where relative paths start.
        where: The frame and the column, for messages.

    Raises:
        ImageReadError: Cells without an image, or with one that cannot be read, with the count and the first rows.
    """
    sizes = np.zeros((len(cells), 2), dtype=np.int64)
    faults: dict[int, str] = {}
    for row, cell in enumerate(cells):
        try:
            if is_missing(cell):
                raise OSError("no image")
            sizes[row] = image_size(cell, folder)
        except (OSError, TypeError) as error:
            faults[row] = f"{cell_text(cell)}: {reason_of(error)}"
    if faults:
        named = [f"{first_rows(index, np.arange(len(cells)) == row)}: {why}" for row, why in list(faults.items())[:3]]
        more = f" and {len(faults) - 3:,} more" if len(faults) > 3 else ""
        raise ImageReadError(
            f"{where}: {len(faults):,} of {counted(len(cells), 'image')} cannot be read: {', '.join(named)}{more}. "
            f"{start_of(folder)}Correct the paths, or drop these rows."
        )
    return sizes
