"""Rows of one image each, with what lies on it (boxes, a mask), which is augmented together with it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from thermocline.data.row_names import first_rows
from thermocline.data.row_part import RowPart
from thermocline.errors import ImageReadError
from thermocline.inputs.image.cells import cell_text, is_missing, reason_of
from thermocline.inputs.image.files import open_image
from thermocline.inputs.image.grey import Range

if TYPE_CHECKING:
    from PIL.Image import Image


class OneImageRows(RowPart):
    """Rows of one image each; what derives from it has these as fields.

    Attributes:
        cells: The image of each row.
        index: The frame's index, for messages.
        folder: Where relative paths start.
        augment: How strongly training images are augmented; None: not at all.
    """

    cells: tuple[object, ...]
    index: pd.Index[Any]
    folder: Path | None
    augment: str | None

    def __len__(self) -> int:
        return len(self.cells)

    @property
    def decodes(self) -> bool:
        """True: of images."""
        return True

    @property
    def augmented(self) -> bool:
        """Whether images, with what lies on them, are augmented in training."""
        return self.augment is not None

    @property
    def variants(self) -> int | None:
        """One, or a new one every epoch where images are augmented."""
        return None if self.augmented else 1

    def variant(self, rows: np.ndarray, epoch: int | None) -> np.ndarray:
        """Return the epoch where images are augmented, -1 for images as they are among augmented ones, else 0."""
        number = 0 if not self.augmented else -1 if epoch is None else epoch
        return np.full(len(rows), number, dtype=np.int64)

    def opened(self, row: int, grey: Range | None) -> Image:
        """Return a row's image, decoded.

        Args:
            row: Its position.
            grey: The range of values of more than 8 bits, or None.

        Raises:
            ImageReadError: There is none, or it cannot be decoded.
        """
        cell = self.cells[row]
        try:
            if is_missing(cell):
                raise OSError("the cell is empty")
            return open_image(cell, self.folder, grey)
        except (OSError, TypeError) as error:
            named = first_rows(self.index, np.arange(len(self)) == row)
            raise ImageReadError(
                f"The image in {named} cannot be read: {cell_text(cell)} ({reason_of(error)}). Restore the file, "
                "or drop the row."
            ) from error
