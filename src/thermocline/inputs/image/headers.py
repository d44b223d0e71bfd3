"""Opens image files as far as their headers, and names those of too many pixels."""

from __future__ import annotations

import io
import os
import threading
import warnings
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from thermocline.errors import ThermoclineWarning

if TYPE_CHECKING:
    from PIL.Image import Image


class _Filters:
    """A lock around changes of the filters of warnings, which all threads share."""

    def __init__(self) -> None:
        self.renew()
        if hasattr(os, "register_at_fork"):  # a process forked while another thread holds it would wait for ever
            os.register_at_fork(after_in_child=self.renew)

    def renew(self) -> None:
        self.lock = threading.Lock()


_filters = _Filters()


def opened(place: Path | bytes) -> Image:
    """Open a file or encoded bytes; nothing is decoded yet.

    Raises:
        OSError: No image, or one of more pixels than Pillow decodes.
    """
    from PIL import Image as pil
    from PIL import UnidentifiedImageError

    source = io.BytesIO(place) if isinstance(place, bytes) else place
    try:
        with _filters.lock, warnings.catch_warnings(action="ignore", category=pil.DecompressionBombWarning):
            return pil.open(source)
    except UnidentifiedImageError:
        raise OSError("no image that Pillow opens") from None
    except pil.DecompressionBombError:
        raise OSError(
            f"it has more than {2 * (pil.MAX_IMAGE_PIXELS or 0):,} pixels, the most that are decoded: make it smaller, "
            "or raise PIL.Image.MAX_IMAGE_PIXELS if you trust it"
        ) from None


@lru_cache(maxsize=1024)
def tell_large(width: int, height: int, name: str) -> None:
    """Warn, once an image, of one with more pixels than `PIL.Image.MAX_IMAGE_PIXELS`.

    Args:
        width: In pixels.
        height: In pixels.
        name: What messages call it.
    """
    from PIL import Image as pil

    limit = pil.MAX_IMAGE_PIXELS
    if limit is None or width * height <= limit:
        return
    warnings.warn(
        f"An image ({name}) has {width:,} × {height:,} pixels: it takes {3 * width * height / 10**6:,.0f} MB each "
        f"time it is decoded. Make it smaller, or raise PIL.Image.MAX_IMAGE_PIXELS ({limit:,}) to be told no more.",
        ThermoclineWarning,
        stacklevel=4,
    )
