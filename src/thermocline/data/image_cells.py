"""Which values are images: by the ending of a name, the beginning of bytes or text, the shape of an array."""

from __future__ import annotations

import base64
import binascii
import re
import sys
from collections.abc import Mapping, Sequence
from functools import lru_cache
from io import BytesIO
from typing import Any
from urllib.parse import parse_qsl, unquote_to_bytes, urlsplit

import numpy as np

#: Sorts of values that are read as images.
READABLE = frozenset({"path", "encoded", "bytes", "pil", "array", "record"})

IMAGE_START = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a", b"BM", b"II*\x00", b"MM\x00*")
SUFFIX = re.compile(r"\.[a-z][a-z0-9]{0,6}\Z", re.IGNORECASE)
LONGEST_SUFFIX = 8
# Suffixes of images that end other names too: domains, file names in prose. They count in paths with a folder only.
OTHER_MEANING = frozenset({".bw", ".fit", ".im", ".ps"})
# Image files that Pillow does not open by itself; a plugin that registers them makes them images.
_OF_CAMERAS = {".arw", ".cr2", ".cr3", ".dng", ".heic", ".heif", ".nef", ".orf", ".raf", ".rw2"}
_OTHERS = {".dcm", ".djvu", ".emf", ".eps", ".exr", ".hdr", ".jxl", ".npy", ".svg", ".svgz", ".wmf"}
NOT_OPENED = frozenset(_OF_CAMERAS | _OTHERS)
SCHEME = re.compile(r"[a-z][a-z0-9+.-]{0,20}://", re.IGNORECASE)
DATA_ADDRESS = re.compile(r"data:([a-z0-9.+-]+/[a-z0-9.+-]+)?(;[a-z0-9.+=-]+)*,", re.IGNORECASE)
SEVERAL = re.compile(r"\.[a-z0-9]{2,7}['\"]?\s*[;|,\n]", re.IGNORECASE)  # a name, and what follows it in a list
BASE64 = re.compile(r"[A-Za-z0-9+/_-]+")
LEAST_BASE64 = 40  # characters; the smallest picture has more
LEAST_SIDE = 8  # pixels: a smaller array without channels is one of boxes or of points
CHANNELS = (1, 2, 3, 4)

_BYTES = "application/octet-stream"
_TO_STANDARD = str.maketrans("-_", "+/")


def image_sort(value: object) -> str:
    """Return how a value is an image, in one word, or an empty string where it is none.

    `path`, `encoded` (base64, or a data URL), `bytes`, `pil`, `array` and `record` (a dict of `bytes` and `path`, as
    `datasets` has them) can be read; a list of one image is that image. `address` (an URL), `list` (several images in
    one cell) and `format` (the name of an image file that Pillow does not open) cannot.

    Example:
        >>> [image_sort(text) for text in ("cats/1.png", "https://a.org/1.png", "1.png;2.png", "a cat")]
        ['path', 'address', 'list', '']
    """
    if isinstance(value, str):
        return _sort_of_text(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return "bytes" if is_image_bytes(value) else ""
    if is_pil(value):
        return "pil"
    if isinstance(value, Mapping):
        return "record" if is_record(value) else ""
    if hasattr(value, "__fspath__"):
        return _sort_of_text(str(value))
    array = as_array(value)
    if array is not None:
        return "array" if _is_picture(array) else "list" if array.ndim == 4 else ""
    if isinstance(value, (list, tuple, np.ndarray)) and len(value) and all(map(image_sort, value)):
        return image_sort(value[0]) if len(value) == 1 else "list"
    return ""


# -- text ------------------------------------------------------------------------------------------


def _sort_of_text(text: str) -> str:
    if text[:5].lower() == "data:":
        found = DATA_ADDRESS.match(text)
        kind = (found.group(1) or "").lower() if found else "-"
        return "encoded" if kind.startswith("image/") or (kind in ("", _BYTES) and _holds_image(text)) else ""
    if SCHEME.match(text):
        return _sort_of_address(text)
    if _is_list(text):
        return "list"
    sort = _sort_of_name(text.rstrip())  # blanks after a name are a fault of the table, told where it is opened
    return sort or ("encoded" if _is_base64_image(text) else "")


def _holds_image(address: str) -> bool:
    try:
        return is_image_bytes(encoded_bytes(address))
    except ValueError:
        return False


def _sort_of_name(text: str) -> str:
    """Return `path`, `format` or nothing, by the ending of a name."""
    found = SUFFIX.search(text[-LONGEST_SUFFIX:])
    if found is None:
        return ""
    suffix = found.group().lower()
    if suffix in image_suffixes():
        return "path" if suffix not in OTHER_MEANING or re.search(r"[/\\]", text) else ""
    return "format" if suffix in NOT_OPENED else ""


def _sort_of_address(text: str) -> str:
    try:
        parts = urlsplit(text)
    except ValueError:
        return ""
    if parts.scheme.lower() == "file":
        return _sort_of_name(parts.path)
    names = [parts.path, *(part for _, value in parse_qsl(parts.query) for part in (value, f"/.{value}"))]
    return "address" if any(_sort_of_name(name) for name in names) else ""


def _is_list(text: str) -> bool:
    """Whether a text is several names of images, or a list of them as Python or JSON write it."""
    if text.startswith("[") and text.endswith("]"):
        parts = text[1:-1].split(",")
    elif SUFFIX.search(text[-LONGEST_SUFFIX:]) and SEVERAL.search(text):
        parts = re.split(r"[;|,\n]", text)
    else:
        return False
    return all(_sort_of_name(part.strip(" '\"")) or SCHEME.match(part.strip(" '\"")) for part in parts)


def _is_base64_image(text: str) -> bool:
    if len(text) < LEAST_BASE64 or "." in text[:LEAST_BASE64]:
        return False
    head = "".join(text[: 2 * LEAST_BASE64].split())[:32]
    if len(head) < 32 or not BASE64.fullmatch(head):
        return False
    return is_image_bytes(base64.b64decode(head.translate(_TO_STANDARD)))


def encoded_bytes(text: str) -> bytes:
    """Return the bytes that a data URL or a base64 text holds.

    Raises:
        ValueError: It is damaged.
    """
    found = DATA_ADDRESS.match(text)
    if found is not None:
        content = unquote_to_bytes(text[found.end() :])
        if not found.group().lower().endswith(";base64,"):
            return content
        text = content.decode("ascii")
    plain = "".join(text.split()).translate(_TO_STANDARD)
    try:
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except binascii.Error as error:
        raise ValueError(f"base64 text that cannot be decoded: {error}") from None


# -- what Pillow opens -----------------------------------------------------------------------------


def image_suffixes() -> frozenset[str]:
    """Return the suffixes of files that Pillow opens here, such as `.png`; plugins that were imported count."""
    from PIL import Image as pil

    pil.init()
    return _suffixes(len(pil.EXTENSION), len(pil.OPEN))


@lru_cache(maxsize=4)
def _suffixes(*_registered: int) -> frozenset[str]:
    from PIL import Image as pil

    kinds = _opened_kinds(len(pil.OPEN))
    return frozenset(suffix for suffix, kind in pil.EXTENSION.items() if kind in kinds)


@lru_cache(maxsize=4)
def _opened_kinds(_registered: int) -> tuple[str, ...]:
    """Return the formats that Pillow decodes, not only recognises."""
    from PIL import EpsImagePlugin, ImageFile
    from PIL import Image as pil

    stubs = {
        kind
        for kind, (factory, _) in pil.OPEN.items()
        if isinstance(factory, type) and issubclass(factory, ImageFile.StubImageFile)
    }
    without_decoder = {"MPEG"} | (set() if EpsImagePlugin.has_ghostscript() else {"EPS"})
    return tuple(kind for kind in pil.OPEN if kind not in stubs | without_decoder)


def is_image_bytes(value: bytes | bytearray | memoryview) -> bool:
    """Whether bytes begin as the files of a format do that Pillow opens."""
    start = bytes(value[:16])
    if start.startswith(IMAGE_START) or (start[:4] == b"RIFF" and start[8:12] == b"WEBP"):
        return True
    if len(start) < 16:
        return False
    from PIL import Image as pil

    pil.init()
    tests = (pil.OPEN[kind][1] for kind in _opened_kinds(len(pil.OPEN)))
    return any(test is not None and test(start) is True for test in tests)


def opens(value: bytes | bytearray | memoryview) -> bool:
    """Whether Pillow reads the header of encoded bytes: also those of formats with no beginning of their own."""
    from PIL import Image as pil

    try:
        with pil.open(BytesIO(value)) as image:
            return image.format in _opened_kinds(len(pil.OPEN))
    except Exception:  # a damaged file can raise nearly anything in Pillow's readers
        return False


# -- arrays and records ----------------------------------------------------------------------------


def is_pil(value: object) -> bool:
    """Whether a value is a PIL image; nothing is copied or imported."""
    pillow = sys.modules.get("PIL.Image")  # whoever holds such an image has imported it
    return pillow is not None and isinstance(value, pillow.Image)


def is_record(value: Mapping[Any, Any]) -> bool:
    """Whether a dict is an image as `datasets` has them: `bytes`, or a `path`."""
    return bool(value) and set(value) <= {"bytes", "path"} and not is_empty_record(value)


def is_empty_record(value: object) -> bool:
    """Whether a dict has the form of an image, with nothing in it."""
    return isinstance(value, Mapping) and bool(value) and set(value) <= {"bytes", "path"} and not any(value.values())


def as_array(value: object) -> np.ndarray | None:
    """Return an array of numbers, or nested lists of numbers as one; None for anything else.

    Tables read through Arrow hold arrays of arrays, and tensors say themselves how they become an array.
    """
    if not isinstance(value, np.ndarray):
        if isinstance(value, (list, tuple)):
            if not value or not isinstance(value[0], (list, tuple, np.ndarray)) or getattr(value[0], "ndim", 1) > 1:
                return None
        elif not hasattr(value, "__array__") or not getattr(value, "ndim", 0):
            return None
    try:
        array = np.asarray(value)
        if array.dtype == object:
            array = np.array(_nested(array))
    except (ValueError, TypeError, RuntimeError):  # ragged; a tensor that is not on the CPU
        return None
    return array if array.dtype.kind in "biuf" and array.ndim > 1 else None


def _nested(value: Any) -> Any:
    return [_nested(one) for one in value] if isinstance(value, (np.ndarray, Sequence)) else value


def _is_picture(array: np.ndarray) -> bool:
    """Whether an array has the shape of a picture: height × width, with channels last or (to be told) first."""
    if array.ndim == 2:
        return bool(min(array.shape) >= LEAST_SIDE)
    return array.ndim == 3 and array.size > 0 and bool({array.shape[0], array.shape[2]} & {*CHANNELS})
