"""Images as pixels, in the program beside an exported model; see `data.standalone_cells`."""

from __future__ import annotations

import base64
import io
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes
from urllib.request import url2pathname

import numpy as np

from thermocline.data.standalone_cells import cell_of

DATA_URL = re.compile(r"data:[^,]*,", re.IGNORECASE)
LEAST_ENCODED = 40  # letters
ENCODED = re.compile(r"[A-Za-z0-9+/_-]+")
STARTS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\x00", b"MM\x00*", b"RIFF")


def no_picture(value: Any) -> bool:
    """Whether a cell holds no image."""
    if isinstance(value, Mapping):
        return not any(value.values())
    return value is None or (isinstance(value, str) and not value.strip())


def open_picture(value: Any, folder: Path | None, grey: Sequence[float] | None) -> Any:
    """Return a cell's image in RGB: transparency becomes white, EXIF rotation is undone.

    Args:
        value: A path, encoded bytes, base64 text or a data URL, a PIL image, an array, or a dict of `bytes` and `path`.
        folder: Where relative paths start.
        grey: The range that values of more than 8 bits are scaled by; None: that of their type.

    Raises:
        OSError: It cannot be read.
    """
    from PIL import Image, ImageOps

    image = _source(value, folder)
    if isinstance(image, np.ndarray):
        deep = image.dtype not in (np.uint8, np.bool_)
        image = _scaled(image, grey) if deep else image.astype(np.uint8) * (255 if image.dtype == np.bool_ else 1)
        image = Image.fromarray(np.ascontiguousarray(image[..., 0] if image.shape[2:] == (1,) else image))
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I") or image.mode == "F":
        return Image.fromarray(_scaled(image, grey)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (255, 255, 255, 255)), image)
    return image.convert("RGB")


def _source(value: Any, folder: Path | None) -> Any:
    from PIL import Image

    if isinstance(value, Mapping):
        value = value.get("bytes") or value.get("path")
    if isinstance(value, (list, tuple)) and len(value) == 1 and not isinstance(value[0], (list, tuple)):
        value = value[0]
    if isinstance(value, str):
        value = _decoded(value) or Path(url2pathname(value[7:]) if value[:7].lower() == "file://" else value)
    if isinstance(value, Path) or hasattr(value, "__fspath__"):
        value = ((folder or Path()) / value).read_bytes()
    if isinstance(value, (bytes, bytearray, memoryview)):
        value = Image.open(io.BytesIO(value))
    if isinstance(value, Image.Image):
        value.load()
        return value
    array = np.asarray(value)
    if array.dtype.kind not in "biuf" or array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] > 4):
        raise OSError(f"a cell holds {type(value).__name__}, which is no image: give a path, bytes or an array")
    return array


def _decoded(text: str) -> bytes | None:
    """Return the bytes that a data URL or a base64 text holds; None where the text is a path."""
    found = DATA_URL.match(text)
    if found is not None:
        content = unquote_to_bytes(text[found.end() :])
        return base64.b64decode(content) if found.group().lower().endswith(";base64,") else content
    plain = "".join(text.split())
    if len(text) < LEAST_ENCODED or not ENCODED.fullmatch(plain.rstrip("=")):
        return None
    plain = plain.translate(str.maketrans("-_", "+/"))
    return base64.b64decode(plain + "=" * (-len(plain) % 4)) if _starts(plain) else None


def _starts(plain: str) -> bool:
    return base64.b64decode(plain[:32]).startswith(STARTS)


def _scaled(image: Any, grey: Sequence[float] | None) -> np.ndarray:
    values = np.asarray(image, dtype=np.float64)
    values = np.where(np.isfinite(values), values, 0.0)
    low, high = grey or _range(image)
    grown: np.ndarray = (np.clip(values, low, high) - low) / (high - low) * 255
    return grown.round().astype(np.uint8)


def _range(image: Any) -> tuple[float, float]:
    if isinstance(image, np.ndarray):
        whole, sixteen = image.dtype.kind in "iu", image.dtype.itemsize == 2
    else:
        whole, sixteen = image.mode != "F", image.mode.startswith("I;16")
    return (0.0, 65535.0 if sixteen else 255.0) if whole else (0.0, 1.0)


class ImageReader:
    """Turns image columns into pixels, as `ImageRows` and `plain_transform` do.

    Args:
        settings: Column names, their ranges of grey, and the fields of `ImageSpec`.
        _folder: The export's.
    """

    def __init__(self, settings: Mapping[str, Any], _folder: Path) -> None:
        self.columns, self.ranges = settings["columns"], settings["ranges"]
        self.size, self.interpolation = settings["size"], settings["interpolation"]
        self.resized = [math.floor(side / settings["crop_fraction"]) for side in self.size]
        self.keeps_aspect = not settings["squash"] and self.size[0] == self.size[1]
        self.most = settings["most_pixels"]

    def arrays(self, rows: Sequence[Mapping[str, Any]], folder: Path | None) -> dict[str, np.ndarray]:
        """Return `pixels` uint8 `(rows, columns, 3, height, width)` and `present` bool `(rows, columns)`."""
        present = np.zeros((len(rows), len(self.columns)), dtype=bool)
        pixels = np.zeros((*present.shape, 3, *self.size), dtype=np.uint8)
        for i, row in enumerate(rows):
            for j, (name, grey) in enumerate(zip(self.columns, self.ranges, strict=True)):
                value = cell_of(row, name)
                if not no_picture(value):
                    image = self._cropped(open_picture(value, folder, grey))
                    pixels[i, j], present[i, j] = np.asarray(image, dtype=np.uint8).transpose(2, 0, 1), True
        return {"pixels": pixels, "present": present}

    def _cropped(self, image: Any) -> Any:
        """Return an image resized and cropped at its centre; black where it is smaller than the crop."""
        from PIL import Image

        resample, (height, width) = Image.Resampling[self.interpolation.upper()], self.size
        size, short = (self.resized[1], self.resized[0]), self.resized[0]
        if self.keeps_aspect:
            wide, tall = image.size
            size = (short, int(short * tall / wide)) if wide <= tall else (int(short * wide / tall), short)
            if size[0] * size[1] > self.most:
                return _centre(image, size, height, resample)
        image = image if image.size == size else image.resize(size, resample)
        if size[0] < width or size[1] < height:
            left, upper = max((width - size[0]) // 2, 0), max((height - size[1]) // 2, 0)
            larger = Image.new("RGB", (max(width, size[0]), max(height, size[1])))
            larger.paste(image, (left, upper))
            image = larger
        left, upper = round((image.width - width) / 2.0), round((image.height - height) / 2.0)
        return image.crop((left, upper, left + width, upper + height))


def _centre(image: Any, size: tuple[int, int], side: int, resample: Any) -> Any:
    """Return the centre crop of a long image resized to `size`, without resizing the rest of it."""
    scales = [own / whole for own, whole in zip(image.size, size, strict=True)]
    left, upper = (round((whole - side) / 2) * scale for whole, scale in zip(size, scales, strict=True))
    right, lower = left + side * scales[0], upper + side * scales[1]
    box = (max(left, 0.0), max(upper, 0.0), min(right, image.width), min(lower, image.height))
    return image.resize((side, side), resample, box=box)
