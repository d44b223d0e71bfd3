"""Where a frame's images lie, and rows whose images cannot be read: left out where few, an error where many."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from thermocline.contracts.labelled import Labelled, Reading
from thermocline.data.columns import Columns
from thermocline.errors import ImageReadError, ThermoclineWarning, counted, listing
from thermocline.inputs.image.files import relative_name, start_of, unreadable_rows


def located(found: Labelled, images: Sequence[str], reading: Reading) -> Labelled:
    """Return the same data with the folder that relative paths start at.

    Args:
        found: The data.
        images: The columns of images.
        reading: What they are read for: in a fit a few files may be absent.

    Raises:
        ImageReadError: Files are absent; the message says where they were looked for.
    """
    columns = [found.frame[name].tolist() for name in images]
    names = [
        [name for cell in cells if (name := relative_name(cell)) is not None] for cells in zip(*columns, strict=True)
    ]
    most = reading.config.data.max_unreadable_images if reading.for_fit else 0.0
    return replace(found, folder=found.roots.find(names, found.frame.index, what=reading.what, most=most))


def readable_rows(
    frame: pd.DataFrame, columns: Columns, folder: Path | None, most: float, *, what: str
) -> tuple[np.ndarray | None, list[str]]:
    """Return the rows whose images can be read, and a note where others are left out.

    Args:
        frame: The rows.
        columns: Their types.
        folder: Where relative paths start.
        most: The share of rows that may be left out.
        what: The name of the frame, for messages.

    Returns:
        Row positions, or None for all; and notes.

    Raises:
        ImageReadError: More than the share allowed.
    """
    images = [column for column in columns.columns if column.kind == "image"]
    faults = unreadable_rows(frame, images, folder, decode=True) if images else {}
    if not faults:
        return None, []
    shown = listing([f"row {frame.index[row]}: {why}" for row, why in faults.items()], limit=3)
    verb = "has" if len(faults) == 1 else "have"
    count = f"{len(faults)} of {counted(len(frame), 'row')} of {what} {verb} images that cannot be read: {shown}"
    if len(faults) > most * len(frame) or len(faults) == len(frame):
        raise ImageReadError(
            f"{count}. At most {100 * most:.0f} % may (data.max_unreadable_images). {start_of(folder)}"
            "Correct the paths, or drop these rows."
        )
    warnings.warn(f"{count}. They are left out.", ThermoclineWarning, stacklevel=7)
    kept = np.setdiff1d(np.arange(len(frame)), list(faults))
    return kept, [f"{counted(len(faults), 'row')} of {what} left out: images that cannot be read"]
