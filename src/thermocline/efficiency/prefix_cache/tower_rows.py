"""Rows as one tower sees them: what is stored of each, and how its inputs are made."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from thermocline.data.batches import Rows
from thermocline.data.moving import moved
from thermocline.data.order import inference_order
from thermocline.data.row_part import identity_of
from thermocline.efficiency.prefix_cache.row_store import Form, form_of


class TowerRows:
    """The rows of a split and one tower of them.

    Values are stored by item: a row, or one of its images, in one of its variants.

    Args:
        rows: The rows.
        tower: The name of the tower.
        whole: Whether the whole tower's output is stored, which has one value a row however many items that has.

    Attributes:
        part: The tower's rows.
        augmented: Whether a row in training differs from the row at prediction.
        variants: Variants of a row that are stored.
        per_row: Items a row.
        lengths: Tokens of each item, int64 `(items,)`, where values are stored by token; else None.
        decoded: The names of the inputs that come from decoding; they can be left out until something reads them.
    """

    def __init__(self, rows: Rows, tower: str, *, whole: bool) -> None:
        self.rows, self.tower = rows, tower
        self.part = rows.parts[tower]
        self.augmented = self.part.augmented
        self.variants = (self.part.variants or 1) if self.augmented else 1
        self.per_row = 1 if whole else self.part.per_row
        self.lengths = None if whole else self.part.lengths
        self.decoded = frozenset(self.part.decoded_shapes(1))

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def item_count(self) -> int:
        """Number of items."""
        return len(self.rows) * self.per_row * self.variants

    @property
    def first_epoch(self) -> int | None:
        """An epoch whose rows are among those that are stored."""
        return 0 if self.augmented else None

    def stores(self, epoch: int | None) -> bool:
        """Whether the rows of this epoch are stored: not those without augmentation, where variants are stored."""
        return not (self.augmented and epoch is None)

    def items(self, positions: np.ndarray, epoch: int | None) -> np.ndarray:
        """Return the items of rows, int64 `(rows * per_row,)`."""
        if self.per_row == self.variants == 1:
            return positions
        items: np.ndarray = positions[:, None] * self.per_row + np.arange(self.per_row)
        if self.variants > 1:
            items = items * self.variants + self.part.variant(positions, epoch)[:, None]
        return items.reshape(-1)

    def inputs(self, positions: np.ndarray, epoch: int | None, device: torch.device) -> dict[str, torch.Tensor]:
        """Return the tower's part of a batch."""
        return _on(self.part.batch(positions, epoch), device)

    def undecoded(self, positions: np.ndarray, device: torch.device) -> dict[str, torch.Tensor]:
        """Return the inputs that need no decoding."""
        return _on(self.part.undecoded(positions), device)

    def is_whole(self, inputs: Mapping[str, Any] | None) -> bool:
        """Whether the tower's part of a batch has all inputs, the decoded ones too."""
        return inputs is not None and self.decoded <= inputs.keys()

    def width(self, positions: np.ndarray) -> int | None:
        """Return the tokens that the items of a batch are padded to, where values are stored by token."""
        if self.lengths is None or self.part.widths is None:
            return None
        return int(self.part.widths[positions].max()) // self.per_row

    def form(self, value: torch.Tensor, positions: np.ndarray) -> Form:
        """Return how values of these rows are stored.

        Raises:
            FormMismatch: They do not come item by item.
        """
        return form_of(value, len(positions) * self.per_row, self.width(positions))

    def by_row(self, value: torch.Tensor, positions: np.ndarray) -> dict[int, torch.Tensor]:
        """Return the values of each row, without the padding after the last token of each of its items.

        Raises:
            FormMismatch: They do not come item by item.
        """
        by_token = self.form(value, positions).by_token
        each = value.reshape(len(positions), self.per_row, *value.shape[1:])
        return {int(row): self.of_row(each[i], row, by_token=by_token) for i, row in enumerate(positions)}

    def of_row(self, value: torch.Tensor, row: int, *, by_token: bool) -> torch.Tensor:
        """Return the values of a row `(items, …)`; of tokens `(items, tokens, …)` those that are no padding, joined."""
        if not by_token or self.lengths is None:
            return value
        lengths = self.lengths.reshape(-1, self.per_row)[row]
        return torch.cat([one[:length] for one, length in zip(value, lengths, strict=True)])

    def inference_batches(self, size: int) -> list[np.ndarray]:
        """Return the batches of a pass without training, int64 `(batch,)` each."""
        return inference_order(len(self), size, self.rows.lengths)

    def compositions(self, size: int) -> tuple[np.ndarray, ...]:
        """Return batches to compare, int64 `(size,)` each.

        The shortest rows; one of them together with the longest; and the others together with one of the longest. A
        row in batches of entirely different rows shows a maximum over a batch, or a routing of its rows.
        """
        widths = None if self.part.lengths is None else self.part.lengths.reshape(len(self), -1).max(axis=1)
        order = np.arange(len(self)) if widths is None else np.argsort(widths, kind="stable")
        first = order[:size]
        if len(order) <= size:
            return first, first[::-1].copy()
        return first, np.concatenate([order[:0:-1][: size - 1], first[:1]]), np.concatenate([order[-1:], first[:0:-1]])

    def identity(self) -> str:
        """Return a hash over all inputs of the tower for these rows, including what files hold and preprocessing."""
        digest = hashlib.sha256()
        for piece in identity_of(self.part, files=True):
            digest.update(piece)
        return digest.hexdigest()


def _on(arrays: Mapping[str, np.ndarray], device: torch.device) -> dict[str, torch.Tensor]:
    return moved({key: torch.from_numpy(np.ascontiguousarray(array)) for key, array in arrays.items()}, device)
