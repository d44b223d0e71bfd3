"""The masks of a frame: read once and checked against their images, with the classes that occur."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from thermocline.errors import LabelError, counted, listing
from thermocline.inputs.image.cells import cell_text, is_missing, reason_of
from thermocline.inputs.image.files import start_of
from thermocline.inputs.image.header_size import image_size
from thermocline.problems.semantic_segmentation.mask_cells import read_mask
from thermocline.problems.semantic_segmentation.palette import NO_CLASS, Palette


@dataclass(frozen=True, eq=False)
class Masks:
    """The masks of a frame, as they are in its cells.

    Attributes:
        label: The column.
        image: The column of images.
        cells: The mask of each row.
        index: The frame's index, for messages.
        folder: Where relative paths start.
        palette: What values stand for.
        sizes: Height and width of each image and mask, int64 `(rows, 2)`.
        values: The numbers that occur in any mask, sorted, without those of no class.
        pixels: How many pixels each of `values` has, int64.
        present: For each row the numbers that occur in it.
    """

    label: str
    image: str
    cells: tuple[object, ...]
    index: pd.Index[Any]
    folder: Path | None
    palette: Palette
    sizes: np.ndarray
    values: tuple[int, ...]
    pixels: np.ndarray
    present: tuple[frozenset[int], ...] = field(repr=False, default=())

    def __len__(self) -> int:
        return len(self.cells)

    def take(self, rows: np.ndarray) -> Masks:
        """Return some of the rows; the values are those of all."""
        cells = tuple(self.cells[int(row)] for row in rows)
        present = tuple(self.present[int(row)] for row in rows)
        return replace(self, cells=cells, index=self.index[rows], sizes=self.sizes[rows], present=present)

    def open(self, row: int) -> np.ndarray:
        """Return the values of a row's mask, int32 `(height, width)`.

        Raises:
            LabelError: It went missing, or changed since it was checked.
        """
        try:
            return read_mask(self.cells[row], self.folder, self.palette)
        except (OSError, TypeError, ValueError) as error:
            raise LabelError(
                f"The mask in row {self.index[row]!r} cannot be read: {cell_text(self.cells[row])} "
                f"({reason_of(error)}). It could when masks were checked: restore the file."
            ) from error


def read_masks(
    frame: pd.DataFrame, label: str, image: str, folder: Path | None, palette: Palette, *, what: str
) -> Masks:
    """Read every mask once, and check it against its image; nothing is kept of the pixels.

    Args:
        frame: The rows; their images can be read.
        label: The column of masks.
        image: The column of images.
        folder: Where relative paths start.
        palette: What values stand for.
        what: The name of the data, for messages.

    Raises:
        LabelError: Masks that are missing, cannot be read, have another size than their image, or values that are no
            class. The message names the first rows and files.
    """
    cells = tuple(frame[label].astype(object).tolist())
    images = frame[image].astype(object).tolist()
    faults: dict[int, str] = {}
    counts: dict[int, int] = {}
    sizes = np.zeros((len(cells), 2), dtype=np.int64)
    present: list[frozenset[int]] = []
    for row, (cell, picture) in enumerate(zip(cells, images, strict=True)):
        fault, values = _read(cell, picture, folder, palette)
        if fault:
            faults[row] = fault
            continue
        sizes[row] = values.shape
        found, number = np.unique(values[values != NO_CLASS], return_counts=True)
        present.append(frozenset(found.tolist()))
        for value, pixels in zip(found.tolist(), number.tolist(), strict=True):
            counts[value] = counts.get(value, 0) + pixels
    _check(faults, len(cells), label, folder, frame.index, what)
    known = tuple(sorted(counts))
    pixels = np.array([counts[value] for value in known], dtype=np.int64)
    return Masks(label, image, cells, frame.index, folder, palette, sizes, known, pixels, tuple(present))


def _read(cell: object, picture: object, folder: Path | None, palette: Palette) -> tuple[str, np.ndarray]:
    """Return what is wrong with a mask, or nothing and its values."""
    nothing = np.zeros((0, 0), np.int32)
    if is_missing(cell):
        return "there is no mask", nothing
    try:
        values = read_mask(cell, folder, palette)
    except (OSError, TypeError, ValueError) as error:
        return f"{cell_text(cell)}: {reason_of(error)}", nothing
    size = image_size(picture, folder)
    if values.shape != size:
        return (
            f"{cell_text(cell)} has {values.shape[1]}×{values.shape[0]} pixels, its image {cell_text(picture)} "
            f"{size[1]}×{size[0]}",
            nothing,
        )
    return "", values


def _check(faults: dict[int, str], rows: int, label: str, folder: Path | None, index: pd.Index[Any], what: str) -> None:
    if not faults:
        return
    shown = listing([f"row {index[row]}: {why}" for row, why in faults.items()], limit=3)
    verb = "has a mask" if len(faults) == 1 else "have masks"
    raise LabelError(
        f"{len(faults):,} of {counted(rows, 'row')} of {what} {verb} in column {label!r} that cannot be used: {shown}. "
        f"{start_of(folder)}A mask is an image file or an array with a class for every pixel of its image. Correct "
        "these masks, or drop the rows."
    )


def classes_of(masks: Masks) -> tuple[Any, ...]:
    """Return the classes of training masks, in order: the names that were given, else the numbers that occur.

    Raises:
        LabelError: No pixel has a class.
    """
    if not masks.values:
        raise LabelError(
            f"No mask in column {masks.label!r} has a pixel of any class: all {len(masks):,} hold only "
            f"{masks.palette.ignore} (data.ignore_index). Set data.ignore_index=null if that is a class."
        )
    return masks.palette.classes or masks.values


def check_known(masks: Masks, values: Sequence[int], *, what: str) -> None:
    """Check that masks hold no number that training masks do not have.

    Raises:
        LabelError: They do; the message names numbers and rows.
    """
    known = set(values)
    other = [(row, sorted(own - known)) for row, own in enumerate(masks.present) if own - known]
    if other:
        shown = listing([f"row {masks.index[row]}: {numbers[0]}" for row, numbers in other], limit=3)
        raise LabelError(
            f"{len(other):,} of {counted(len(masks), 'mask')} of {what} {'holds' if len(other) == 1 else 'hold'} a "
            f"class that no training mask has: {shown}. Training has {listing(sorted(known), limit=12)}."
        )
