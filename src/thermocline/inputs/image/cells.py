"""Where the pixels of an image cell are: in a file, in encoded bytes, in a PIL image, or in an array."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeAlias
from urllib.request import url2pathname

import numpy as np
import pandas as pd

from thermocline.data.image_cells import (
    CHANNELS,
    DATA_ADDRESS,
    SCHEME,
    as_array,
    encoded_bytes,
    image_sort,
    is_empty_record,
    is_record,
)

if TYPE_CHECKING:
    from PIL.Image import Image

Source: TypeAlias = "str | bytes | Image | np.ndarray"

NO_IMAGE = "neither a path nor bytes nor a PIL image nor an array"
ADDRESS = "an address, which is not fetched: download the file, and give its path"
SEVERAL = "several images in one cell: make one column of images of each"


def is_missing(value: object) -> bool:
    """Return whether a cell of an image column holds no image (None, NaN, an empty path, a dict without bytes)."""
    if value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value)):
        return True
    return not value.strip() if isinstance(value, str) else is_empty_record(value)


def source_of(cell: object) -> Source:
    """Return where a cell's pixels are: a path as text, encoded bytes, a PIL image, or an array.

    Base64 text and data URLs become bytes; of a dict the bytes count, else its path.

    Raises:
        OSError: Text that cannot be decoded, or the address of an image elsewhere.
        TypeError: No image, or several.
    """
    from PIL import Image as pil

    if isinstance(cell, pil.Image):
        return cell
    if isinstance(cell, str | os.PathLike):
        return _source_of_text(cell)
    if isinstance(cell, bytes | bytearray | memoryview):
        return bytes(cell)
    if isinstance(cell, Mapping) and is_record(cell):
        return source_of(cell.get("bytes") or cell.get("path"))
    array = as_array(cell)
    if array is None and isinstance(cell, list | tuple | np.ndarray) and len(cell) == 1:
        return source_of(cell[0])
    if array is None or array.ndim == 4:
        raise TypeError(SEVERAL if image_sort(cell) == "list" else NO_IMAGE)
    return _checked(array)


def path_of(cell: object) -> str | None:
    """Return the path that a cell holds, or None where its pixels are elsewhere; nothing is decoded."""
    if isinstance(cell, Mapping):
        cell = None if cell.get("bytes") else cell.get("path")
    if isinstance(cell, list | tuple) and len(cell) == 1:
        cell = cell[0]
    if not isinstance(cell, str | os.PathLike) or is_missing(cell):
        return None
    text = os.fspath(cell)
    if isinstance(text, bytes):
        return os.fsdecode(text)
    if text[:7].lower() == "file://":
        return url2pathname(text[7:])
    return None if SCHEME.match(text) or _is_encoded(text) else text


def _source_of_text(text: str | os.PathLike[str]) -> str | bytes:
    path = path_of(text)
    if path is not None:
        return path
    if not _is_encoded(str(text)):
        raise OSError(ADDRESS)
    try:
        return encoded_bytes(str(text))
    except ValueError as error:
        raise OSError(str(error)) from None


def _is_encoded(text: str) -> bool:
    return DATA_ADDRESS.match(text) is not None or image_sort(text) == "encoded"


def _checked(array: np.ndarray) -> np.ndarray:
    """Return an array of the shape height × width, or height × width × channels."""
    if array.size and (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in CHANNELS)):
        return array
    first = array.ndim == 3 and array.shape[0] in CHANNELS
    hint = "; transpose it: array.transpose(1, 2, 0)" if first else ""
    raise OSError(f"an array of shape {array.shape}, not height × width or height × width × 1 to 4 channels{hint}")


def reason_of(error: Exception) -> str:
    """Return why an image could not be read, without the name that messages begin with."""
    if isinstance(error, FileNotFoundError):
        return "no such file"
    return str(getattr(error, "strerror", None) or error) or repr(error)


def cell_text(cell: object) -> str:
    """Return how messages name a cell: a path as it is written, else its type."""
    if isinstance(cell, Mapping) and isinstance(cell.get("path"), str):
        cell = cell["path"]
    if isinstance(cell, str | os.PathLike):
        text = str(cell)
        if _is_encoded(text):
            return f"text that holds an image, {text[:24]}..."
        text = text if text == text.strip() else repr(text)
        return text if len(text) <= 300 else f"{text[:297]}..."
    return type(cell).__name__
