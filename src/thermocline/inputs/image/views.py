"""What the image tower reads, as pictures; the fields of an image; pixels to differentiate by."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from thermocline.contracts.showing import CellParts, Differentiable, Parts, View
from thermocline.data.columns import Column
from thermocline.errors import ImageReadError
from thermocline.inputs.image.cells import cell_text, is_missing, reason_of
from thermocline.inputs.image.files import open_image
from thermocline.inputs.image.grey import Range
from thermocline.inputs.image.processor import ImageProcessor
from thermocline.inputs.image.rows import ImageRows

if TYPE_CHECKING:
    from thermocline.inputs.image.tower import ImageTower

MISSING = "missing"


def image_views(part: ImageRows, rows: np.ndarray, epoch: int | None) -> list[list[View]]:
    """Return the images of some rows as the tower reads them, before it normalises their pixels.

    Args:
        part: The rows.
        rows: Positions of the rows that are shown.
        epoch: The epoch of training, in which they may be varied; None: as in prediction.
    """
    arrays = part.batch(rows, epoch)
    varied = f"varied by {part.augment}" if epoch is not None and part.augmented else ""
    return [
        [
            _view(name, np.moveaxis(one, 0, -1), varied) if there else View(name, MISSING)
            for name, one, there in zip(part.names, pixels, present, strict=True)
        ]
        for pixels, present in zip(arrays["pixels"], arrays["present"], strict=True)
    ]


def _view(name: str, pixels: np.ndarray, note: str) -> View:
    height, width, _ = pixels.shape
    return View(name, f"{width}×{height} pixels", note, np.ascontiguousarray(pixels))


def image_parts(column: Column, cell: object, folder: Path | None, grey: Range | None, grid: int) -> Parts:
    """Return an image, and the image with each field of a grid covered by its mean colour (Zeiler and Fergus 2014).

    Args:
        column: The column.
        cell: Its cell.
        folder: Where relative paths start.
        grey: The range of values of more than 8 bits in this column.
        grid: Rows and columns of fields; as many as there are pixels at most.

    Raises:
        ImageReadError: It cannot be read.
    """
    from PIL import Image as pil

    if is_missing(cell):
        return Parts((), ())
    try:
        picture = np.asarray(open_image(cell, folder, grey))
    except (OSError, TypeError) as error:
        raise ImageReadError(
            f"The image of column {column.name!r} cannot be read: {cell_text(cell)} ({reason_of(error)}). Restore "
            "the file, or set the cell to None where there is no image."
        ) from error
    height, width, _ = picture.shape
    rows, columns = min(grid, height), min(grid, width)
    down, across = (np.linspace(0, size, n + 1).round().astype(int) for size, n in ((height, rows), (width, columns)))
    mean = picture.reshape(-1, 3).mean(axis=0).round().astype(np.uint8)
    cells = []
    for i in range(rows):
        for j in range(columns):
            covered = picture.copy()
            covered[down[i] : down[i + 1], across[j] : across[j + 1]] = mean
            cells.append(pil.fromarray(covered))
    return Parts((), tuple(cells), picture, (rows, columns))


def image_differentiable(
    processor: ImageProcessor, tower: ImageTower, inputs: Mapping[str, torch.Tensor]
) -> Differentiable:
    """Return the pixels of a row's images; the baseline has the mean colour that the backbone normalises by.

    Args:
        processor: Names the columns.
        tower: The tower.
        inputs: Its part of a batch of one row.
    """
    pixels, present = inputs["pixels"], inputs["present"]
    values = pixels.to(tower.mean.dtype)
    baseline = tower.mean.unsqueeze(1).expand_as(values).contiguous()

    @contextmanager
    def placed(given: torch.Tensor) -> Iterator[dict[str, torch.Tensor]]:
        yield {"pixels": given, "present": present.expand(len(given), *present.shape[1:])}

    def cells(added: np.ndarray) -> list[CellParts]:
        pictures = np.moveaxis(pixels[0].cpu().numpy(), 1, -1)
        heat = added.astype(np.float64).sum(axis=1)
        return [
            CellParts(column.name, (), heat[place], np.ascontiguousarray(pictures[place]))
            for place, column in enumerate(processor.columns)
            if bool(present[0, place])
        ]

    return Differentiable(values, baseline, placed, cells)
