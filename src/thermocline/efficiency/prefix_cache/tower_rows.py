"""Rows as one tower sees them: what is kept of each, and how its inputs are made."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np
import torch

from thermocline.data.batches import Rows
from thermocline.data.row_part import identity_of
from thermocline.efficiency.prefix_cache.row_store import Form, form_of


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
        self.varied = self.part.augmented
        self.views = self.part.variants or 1
        self.per_row = 1 if whole else self.part.per_row
        self.lengths = None if whole else self.part.lengths

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
        if self.views > 1:
            items = items * self.views + self.part.variant(positions, epoch)[:, None]
        return items.reshape(-1)

    def inputs(self, positions: np.ndarray, epoch: int | None, device: torch.device) -> dict[str, torch.Tensor]:
        """Return the tower's part of a batch."""
        batch = self.rows.batch(positions, epoch, without=frozenset(self.rows.parts) - {self.tower})
        return {key: value.to(device) for key, value in batch[self.tower].items()}

    def decoded(self, inputs: Mapping[str, torch.Tensor]) -> bool:
        """Whether no array of a batch is missing."""
        return self.part.decoded_shapes(0).keys() <= inputs.keys()

    def form(self, value: torch.Tensor, positions: np.ndarray) -> Form:
        """Return how values of these rows are kept.

        Raises:
            Misfit: They do not come item by item.
        """
        widths = self.part.widths
        width = None if self.lengths is None or widths is None else int(widths[positions].max())
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
        lengths = self.part.lengths
        order = np.arange(len(self)) if lengths is None else np.argsort(lengths, kind="stable")
        first = order[:size]
        if len(order) <= size:
            return first, first[::-1].copy()
        # one row that comes to lie beside others altogether tells of a maximum over a batch, or of its sharing out
        return first, np.concatenate([order[:0:-1][: size - 1], first[:1]]), np.concatenate([order[-1:], first[:0:-1]])

    def fingerprint(self) -> str:
        """Return a hash over all that a tower is given of these rows; of files what they hold now."""
        digest = hashlib.sha256()
        for piece in identity_of(self.part, files=True):
            digest.update(piece)
        return digest.hexdigest()
