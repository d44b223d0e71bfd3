"""Rows of one tower's input, ready to be cut into batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

    from thermocline.data.pixel_cache import Keep


class RowPart:
    """What a tower is given of a frame's rows. Subclasses are frozen dataclasses; the defaults are for plain arrays.

    Properties:
        lengths: Tokens of each item, int64 `(rows * per_row,)`, where items are sequences; else None. Values per token
            are kept without padding.
        widths: Tokens that each row takes up when it is the longest of a batch, int64 `(rows,)`; else None. Its items
            take up the same number each.
        per_row: Items a row, such as images or texts in several columns; values of an item are kept apart.
        variants: How many variants of a row take turns from epoch to epoch: 1 where a row is always the same, None
            where every epoch has a new one.
    """

    def __len__(self) -> int:
        raise NotImplementedError

    def batch(self, rows: np.ndarray, epoch: int | None = None) -> dict[str, np.ndarray]:
        """Return the arrays of these row positions.

        Args:
            rows: Row positions, int64 `(batch,)`.
            epoch: The epoch of training, or None for rows without augmentation.
        """
        raise NotImplementedError

    def undecoded(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Return the arrays of `batch(rows)` that need no decoding; `decoded_shapes` names the others.

        Empty where nothing is decoded: then a batch is made whole or not at all.
        """
        del rows
        return {}

    def decoded_shapes(self, rows: int) -> Mapping[str, tuple[tuple[int, ...], torch.dtype]]:
        """Return shape and dtype of the arrays of a batch that come from decoding (pixels), by name.

        The prefix cache decodes only when something needs these arrays. Empty where nothing is decoded.
        """
        del rows
        return {}

    def unlabelled(self) -> RowPart:
        """Return the same rows as at prediction."""
        return self

    def aligned(self) -> RowPart:
        """Return the same rows, such that a row's values have the same bits in every batch of one size."""
        return self

    def kept(self, keep: Keep) -> AbstractContextManager[RowPart]:
        """Return a context that yields the same rows, with decoded inputs kept until it ends, as far as they fit."""
        del keep
        return nullcontext(self)

    def identity(self, *, files: bool) -> Iterator[bytes]:
        """Yield bytes that tell these rows from others.

        Args:
            files: Whether files are told apart by what they hold (resolved path, size, time of change) and the
                preprocessing counts too: what cached values depend on. Without it a file counts by its name as
                written, so that a run may be resumed where its data have moved; `files` lets it be compared.
        """
        raise NotImplementedError

    def files(self) -> Iterator[tuple[str, str]]:
        """Yield for each file that rows are read from its name as written and its path; none where none are."""
        yield from ()

    @property
    def decodes(self) -> bool:
        """Whether batches are decoded from files, which takes longer than handing them on from another process."""
        return False

    @property
    def lengths(self) -> np.ndarray | None:
        """Tokens of each item; see the class."""
        return None

    @property
    def widths(self) -> np.ndarray | None:
        """Tokens that each row takes up; see the class."""
        return None

    @property
    def per_row(self) -> int:
        """Items a row; see the class."""
        return 1

    @property
    def variants(self) -> int | None:
        """Variants of a row that take turns; see the class."""
        return 1

    @property
    def augmented(self) -> bool:
        """Whether a row in training differs from the row at prediction."""
        return False

    def variant(self, rows: np.ndarray, epoch: int | None) -> np.ndarray:
        """Return which variant each row shows in an epoch, int64 `(batch,)`; equal numbers are equal inputs."""
        del epoch
        return np.zeros(len(rows), dtype=np.int64)

    def not_cacheable(self) -> str | None:
        """Return why outputs for these rows cannot be reused from epoch to epoch, or None where they can."""
        return None


def identity_of(part: RowPart, *, files: bool) -> Iterator[bytes]:
    """Yield the identity of a part after the name of its class, so that parts of two kinds never agree."""
    yield type(part).__name__.encode()
    yield from part.identity(files=files)
