"""Image columns of a frame to rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from thermocline.data.columns import Column, Columns
from thermocline.errors import ImageReadError, counted, listing
from thermocline.inputs.image.files import start_of, unreadable_rows
from thermocline.inputs.image.grey import Range
from thermocline.inputs.image.grey_range import warn_of_outside
from thermocline.inputs.image.rows import ImageRows
from thermocline.inputs.image.spec import ImageSpec


class ImageProcessor:
    """Turns the image columns of a frame into rows for one backbone.

    Args:
        columns: The image columns, in order.
        spec: The pixels that the backbone takes.
        ranges: For each column the range of values of more than 8 bits that training images had (`grey_range`); None
            where those had 8 bits.
    """

    def __init__(
        self, columns: Sequence[Column], spec: ImageSpec, ranges: Sequence[Range | None] | None = None
    ) -> None:
        self.columns = tuple(columns)
        self.spec = spec
        self.ranges = (None,) * len(self.columns) if ranges is None else tuple(ranges)

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
                f"{start_of(folder)}Correct the paths, or set the cells to None where there is no image."
            )
        cells = tuple(zip(*(frame[c.name].tolist() for c in self.columns), strict=True))
        names = tuple(c.name for c in self.columns)
        augment = None if augment == "none" else augment
        return ImageRows(cells, folder, self.spec, augment, seed, names, views, self.ranges)

    def restricted(self, names: Sequence[str]) -> ImageProcessor:
        """Return the same for some of the columns."""
        kept = [place for place, column in enumerate(self.columns) if column.name in names]
        return ImageProcessor([self.columns[i] for i in kept], self.spec, [self.ranges[i] for i in kept])

    def compare(self, frame: pd.DataFrame, folder: Path | None) -> None:
        """Warn where images hold values outside of the range that their column had in training."""
        for column, grey in zip(self.columns, self.ranges, strict=True):
            warn_of_outside(frame[column.name].astype(object).tolist(), folder, grey, column.name)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        ranges = [None if grey is None else list(grey) for grey in self.ranges]
        return {"columns": Columns(self.columns).to_dict(), "spec": self.spec.to_dict(), "ranges": ranges}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ImageProcessor:
        """Inverse of `to_dict`."""
        columns, spec = Columns.from_dict(data["columns"]).columns, ImageSpec.from_dict(data["spec"])
        if "ranges" not in data:  # written before there were any
            return cls(columns, spec)
        ranges = [None if grey is None else (float(grey[0]), float(grey[1])) for grey in data["ranges"]]
        return cls(columns, spec, ranges)
