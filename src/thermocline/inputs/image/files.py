"""Reads the cells of image columns, and finds those that cannot be read."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from thermocline.data.columns import Column

if TYPE_CHECKING:
    from PIL.Image import Image


NO_IMAGE = "neither a path nor bytes nor a PIL image"


def open_image(value: object, folder: Path | None = None) -> Image:
    """Read a path, bytes or a PIL image as RGB; transparency becomes white, EXIF rotation is undone.

    Args:
        value: A path (relative ones are tried below `folder` first), encoded bytes, or a PIL image.
        folder: Where relative paths start.

    Raises:
        OSError: The file is missing or cannot be decoded.
    """
    from PIL import Image as pil
    from PIL import ImageOps

    try:
        if isinstance(value, pil.Image):
            image = value
        else:
            if isinstance(value, str | os.PathLike):
                value = find_image(str(value), folder).read_bytes()
            if not isinstance(value, bytes | bytearray | memoryview):
                raise TypeError(NO_IMAGE)
            image = pil.open(io.BytesIO(value))
        image.load()
        image = ImageOps.exif_transpose(image)
        if image.mode.startswith("I") or image.mode == "F":
            return _deep_grey(image)
        if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
            image = image.convert("RGBA")
            white = pil.new("RGBA", image.size, (255, 255, 255, 255))
            return pil.alpha_composite(white, image).convert("RGB")
        return image.convert("RGB")
    except (OSError, MemoryError):
        raise
    except Exception as error:  # a damaged file can raise nearly anything in Pillow's readers
        raise OSError(str(error) or type(error).__name__) from error


def find_image(path: str, folder: Path | None) -> Path:
    """Return a path below `folder` where there is such a file, else as given."""
    if folder is not None and not Path(path).is_absolute() and (folder / path).is_file():
        return folder / path
    return Path(path)


def _deep_grey(image: Image) -> Image:
    """Return a 16- or 32-bit grey image as RGB, scaled by a range of 8 or 16 bits or by its own extremes."""
    from PIL import Image as pil

    values = np.asarray(image, dtype=np.float64)
    values = np.where(np.isfinite(values), values, 0.0)  # float TIFFs mark missing values so
    top = 255.0 if values.max() <= 255 and values.min() >= 0 else 65535.0
    if values.max() > top or values.min() < 0:
        values, top = values - values.min(), float(np.ptp(values)) or 1.0
    return pil.fromarray((values / top * 255).round().astype(np.uint8)).convert("RGB")


def is_missing(value: object) -> bool:
    """Return whether a cell of an image column holds no image (None, NaN, an empty path)."""
    if value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value)):
        return True
    return isinstance(value, str) and not value.strip()


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
    from PIL import Image as pil

    faults: dict[int, str] = {}
    for column in columns:
        for row, value in enumerate(frame[column.name]):
            if row in faults or is_missing(value):
                continue
            try:
                if decode:
                    open_image(value, folder)
                elif isinstance(value, str | os.PathLike):
                    if not find_image(str(value), folder).is_file():
                        raise FileNotFoundError("no such file")
                elif not isinstance(value, bytes | bytearray | memoryview | pil.Image):
                    raise TypeError(NO_IMAGE)
            except (OSError, TypeError) as error:
                where = value if isinstance(value, str | Path) else type(value).__name__
                reason = "no such file" if isinstance(error, FileNotFoundError) else str(error) or repr(error)
                faults[row] = f"column {column.name!r}: {where}: {reason}"
    return faults


def decoded_size(value: object, folder: Path | None) -> int:
    """Return the bytes that a cell's image has as RGB, by the header of its file; 0 where that cannot be read.

    An image that is open already (Pillow's) is not decoded again, so it counts 0 as well.
    """
    from PIL import Image as pil

    try:
        if isinstance(value, str | os.PathLike):
            source: Any = find_image(str(value), folder)
        elif isinstance(value, bytes | bytearray | memoryview):
            source = io.BytesIO(value)
        else:
            return 0
        with warnings.catch_warnings(action="ignore"), pil.open(source) as image:
            return 3 * image.width * image.height
    except Exception:  # a damaged file can raise nearly anything in Pillow's readers; decoding raises the error
        return 0
