"""Rows whose images cannot be read: left out where they are few, an error where they are many."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pandas as pd

from thermocline.data.columns import Columns
from thermocline.errors import ImageReadError, ThermoclineWarning, counted, listing
from thermocline.inputs.image.files import unreadable_rows


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
            f"{count}. At most {most:.0%} may (data.max_unreadable_images). Relative paths start at "
            f"{str(folder) if folder else 'the working folder ' + str(Path.cwd())}; set data.image_folder for "
            f"another, or correct the paths."
        )
    warnings.warn(f"{count}. They are left out.", ThermoclineWarning, stacklevel=7)
    kept = np.setdiff1d(np.arange(len(frame)), list(faults))
    return kept, [f"{counted(len(faults), 'row')} of {what} left out: images that cannot be read"]
