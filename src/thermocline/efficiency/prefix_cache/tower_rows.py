"""Rows as one tower sees them: what is kept of each, and how its inputs are made."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch

from thermocline.data.batches import Rows
from thermocline.efficiency.prefix_cache.row_store import Form, form_of
from thermocline.inputs.image.files import find_image, is_missing
from thermocline.inputs.image.rows import ImageRows
from thermocline.inputs.text.rows import TextRows


class TowerRows:
    """The rows of a split and one tower of them.

    What is kept is kept by item: a row, or one of its images, in one of its variants.

    Args:
        rows: The rows.
        tower: The tower.
        whole: Whether the whole tower's output is kept, which has one value a row however many images there are.
    """

    def __init__(self, rows: Rows, tower: str, *, whole: bool) -> None:
        self.rows, self.tower = rows, tower
        self.part = rows.parts[tower]
        images = isinstance(self.part, ImageRows)
        self.varied = isinstance(self.part, ImageRows) and self.part.augment is not None
        self.views = (self.part.views or 1) if isinstance(self.part, ImageRows) and self.varied else 1
        self.per_row = len(self.part.cells[0]) if isinstance(self.part, ImageRows) and images and not whole else 1
        ragged = isinstance(self.part, TextRows) and self.part.pad_to is None and not whole
        self.lengths: np.ndarray | None = self.part.lengths if isinstance(self.part, TextRows) and ragged else None

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def count(self) -> int:
        """Number of items."""
        return len(self.rows) * self.per_row * self.views

    @property
    def first_epoch(self) -> int | None:
        """An epoch whose rows are among what is kept."""
        return 0 if self.varied else None

    def keeps(self, epoch: int | None) -> bool:
        """Whether the rows of this epoch are among what is kept: not as they are, where variants of them are."""
        return not (self.varied and epoch is None)

    def items(self, positions: np.ndarray, epoch: int | None) -> np.ndarray:
        """Return the items of rows, int64 `(rows * per_row,)`."""
        if self.per_row == self.views == 1:
            return positions
        items: np.ndarray = positions[:, None] * self.per_row + np.arange(self.per_row)
        if self.views > 1 and isinstance(self.part, ImageRows):
            items = items * self.views + self.part.view(positions, epoch)[:, None]
        return items.reshape(-1)

    def inputs(self, positions: np.ndarray, epoch: int | None, device: torch.device) -> dict[str, torch.Tensor]:
        """Return the tower's part of a batch."""
        batch = self.rows.batch(positions, epoch, without=frozenset(self.rows.parts) - {self.tower})
        return {key: value.to(device) for key, value in batch[self.tower].items()}

    def form(self, value: torch.Tensor, positions: np.ndarray) -> Form:
        """Return how values of these rows are kept.

        Raises:
            Misfit: They do not come item by item.
        """
        ragged = isinstance(self.part, TextRows) and self.lengths is not None
        width = int(self.part.widths[positions].max()) if isinstance(self.part, TextRows) and ragged else None
        return form_of(value, len(positions) * self.per_row, width)

    def by_row(self, value: torch.Tensor, positions: np.ndarray) -> dict[int, torch.Tensor]:
        """Return the values of each row, without what stands behind its last token.

        Raises:
            Misfit: They do not come item by item.
        """
        by_token = self.form(value, positions).by_token
        each = value.reshape(len(positions), self.per_row, *value.shape[1:])
        if not by_token or self.lengths is None:
            return {int(row): each[i] for i, row in enumerate(positions)}
        return {int(row): each[i, :, : self.lengths[row]] for i, row in enumerate(positions)}

    def compositions(self, size: int) -> tuple[np.ndarray, ...]:
        """Return batches to compare: the shortest rows, one of them beside the longest, and the others beside one."""
        short = isinstance(self.part, TextRows)
        order = np.argsort(self.part.lengths, kind="stable") if short else np.arange(len(self))  # type: ignore[union-attr]
        first = order[:size]
        if len(order) <= size:
            return first, first[::-1].copy()
        # one row that comes to lie beside others altogether tells of a maximum over a batch, or of its sharing out
        return first, np.concatenate([order[:0:-1][: size - 1], first[:1]]), np.concatenate([order[-1:], first[:0:-1]])

    def lacking(self) -> bool:
        """Whether images are missing, so that batches of images differ in size."""
        return isinstance(self.part, ImageRows) and any(is_missing(cell) for row in self.part.cells for cell in row)

    def fingerprint(self) -> str:
        """Return a hash over all that a tower is given of these rows; of image files their names, sizes and times."""
        digest = hashlib.sha256()
        for piece in self.part.pieces():
            digest.update(piece)
        if isinstance(self.part, ImageRows):
            part = self.part
            digest.update(f"{part.spec} {part.augment} {part.seed} {part.views}".encode())
            for cell in (cell for row in part.cells for cell in row):
                if isinstance(cell, (str, Path)) and not is_missing(cell):
                    stat = find_image(str(cell), part.folder).stat()
                    digest.update(f"{stat.st_size} {stat.st_mtime_ns}\n".encode())
        return digest.hexdigest()
