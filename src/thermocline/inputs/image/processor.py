"""Image columns of a frame to rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from thermocline.data.columns import Column, Columns
from thermocline.errors import ImageReadError, counted, listing
from thermocline.inputs.image.files import unreadable_rows
from thermocline.inputs.image.rows import ImageRows
from thermocline.inputs.image.spec import ImageSpec


class ImageProcessor:
    """Turns the image columns of a frame into rows for one backbone.

    Args:
        columns: The image columns, in order.
        spec: The pixels that the backbone takes.
    """

    def __init__(self, columns: Sequence[Column], spec: ImageSpec) -> None:
        self.columns = tuple(columns)
        self.spec = spec

    def rows(
        self,
        frame: pd.DataFrame,
        folder: Path | None,
        *,
        augment: str | None = None,
        seed: int = 0,
        views: int | None = None,
    ) -> ImageRows:
        """Collect the cells; nothing is decoded yet.

        Args:
            frame: The rows.
            folder: Where relative paths start.
            augment: The training transform; `none` or `None` for the plain one.
            seed: Of the augmentation.
            views: Variants of an image, or `None` for a new one every epoch.

        Raises:
            ImageReadError: A file named in a cell is not there.
        """
        faults = unreadable_rows(frame, self.columns, folder, decode=False)
        if faults:
            raise ImageReadError(
                f"{len(faults):,} of {counted(len(frame), 'row')} {'names' if len(faults) == 1 else 'name'} "
                "images that cannot be read, first "
                f"{listing([f'row {frame.index[r]}: {why}' for r, why in faults.items()], limit=3)}. "
                "Correct the paths (relative ones start at the CSV's folder, `data.image_folder`, or the "
                "working folder), "
                "or set the cells to None where there is no image."
            )
        cells = tuple(zip(*(frame[c.name].tolist() for c in self.columns), strict=True))
        names = tuple(c.name for c in self.columns)
        return ImageRows(cells, folder, self.spec, None if augment == "none" else augment, seed, names, views)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {"columns": Columns(self.columns).to_dict(), "spec": self.spec.to_dict()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ImageProcessor:
        """Inverse of `to_dict`."""
        return cls(Columns.from_dict(data["columns"]).columns, ImageSpec.from_dict(data["spec"]))
