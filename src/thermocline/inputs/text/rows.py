"""Token ids of text columns, padded to the longest row of a batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from thermocline.data.row_part import RowPart

LEAST = 16
"""Tokens that every batch is padded to. Kernels on the CPU add up fewer than 16 columns in another order than 16 or
more; from 16 on, a row's values are bit for bit the same whatever other rows are in its batch."""

LANES = 16
"""Aligned rows are padded to a multiple of this, so that a row's values are the same bits in every batch, however wide:
columns beyond the last whole vector of a CPU (16 floats in AVX-512, 8 in AVX2) are added up apart."""


JOINT, APART, BOTH, EACH = "joint", "apart", "both", "each"
READINGS: dict[str, int | None] = {JOINT: 1, APART: 2, BOTH: 3, EACH: None}
"""How texts of several columns are read, and the sequences of a row: all columns in one sequence, each of two columns
alone and compared, first the one and then the other; or each of any number of columns alone, features side by side."""


def readings_of(pair: str, columns: int) -> int:
    """Return the sequences of a row of so many columns."""
    fixed = READINGS[pair]
    return columns if fixed is None else fixed


@dataclass(frozen=True)
class Hiding:
    """Tokens that are hidden in training (word dropout: Iyyer et al., ACL 2015): a function of seed, epoch and row.

    Attributes:
        share: The share of tokens that are hidden.
        token: The id in their place.
        special: Ids that are never hidden.
        seed: Of what is drawn.
    """

    share: float
    token: int
    special: tuple[int, ...] = ()
    seed: int = 0

    def hidden(self, ids: np.ndarray, place: int, epoch: int) -> np.ndarray:
        """Return the token ids of a sequence in an epoch, some of them hidden."""
        random = np.random.default_rng([self.seed, epoch, place, 0x70])
        drawn = random.random(len(ids)) < self.share
        return np.where(drawn & ~np.isin(ids, self.special), self.token, ids).astype(ids.dtype)


@dataclass(frozen=True)
class TextRows(RowPart):
    """Token ids of every row, ragged.

    Attributes:
        ids: One int32 array of token ids a row; of several readings a row, those of the first row, of the second, ….
        pad_id: The id that fills a shorter row.
        pad_to: Pad every batch to this many tokens, or `None` for the longest row of the batch.
        least: In that case, pad to at least this many; see `LEAST`.
        multiple: And to a multiple of this many, but not beyond `most`; see `LANES`.
        most: The most tokens that the model takes, or `None`.
        readings: Sequences a row, which the tower reads one by one; see `READINGS`.
        hiding: How tokens are hidden in training, or `None`.
        columns: Of each token of each sequence, which column it is of, int16, -1 for none; None where there is one
            column, or where columns are read apart.
    """

    ids: tuple[np.ndarray, ...]
    pad_id: int
    pad_to: int | None = None
    least: int = LEAST
    multiple: int = 1
    most: int | None = None
    readings: int = 1
    columns: tuple[np.ndarray, ...] | None = None
    hiding: Hiding | None = None

    def __len__(self) -> int:
        return len(self.ids) // self.readings

    @property
    def per_row(self) -> int:
        """Sequences a row."""
        return self.readings

    @cached_property
    def token_counts(self) -> np.ndarray:
        """Tokens of each sequence, int64 `(rows * readings,)`."""
        return np.fromiter((len(row) for row in self.ids), dtype=np.int64, count=len(self.ids))

    @cached_property
    def longest(self) -> np.ndarray:
        """Tokens of the longest sequence of each row, int64 `(rows,)`."""
        return np.asarray(self.token_counts.reshape(-1, self.readings).max(axis=1))

    @property
    def lengths(self) -> np.ndarray | None:
        """`token_counts`; None where all batches are padded to one width, since padding then changes the values."""
        return self.token_counts if self.pad_to is None else None

    @cached_property
    def widths(self) -> np.ndarray:
        """Tokens that each row takes up when it is the longest of a batch, in all its readings, int64 `(rows,)`."""
        if self.pad_to is not None:
            return np.full(len(self), self.pad_to * self.readings, dtype=np.int64)
        widths = -(-np.maximum(self.longest, self.least) // self.multiple) * self.multiple
        limited = widths if self.most is None else np.maximum(np.minimum(widths, self.most), self.longest)
        return np.asarray(limited * self.readings)

    def batch(self, rows: np.ndarray, epoch: int | None = None) -> dict[str, np.ndarray]:
        """Return `input_ids`, `attention_mask` and, where known, `columns`, padded: int64 `(len(rows), longest)`.

        Of several readings a row, `(len(rows), readings, longest)`.
        """
        places = [int(row) * self.readings + i for row in rows for i in range(self.readings)]
        chosen = [self.ids[place] for place in places]
        if self.hiding is not None and epoch is not None:
            chosen = [self.hiding.hidden(ids, place, epoch) for ids, place in zip(chosen, places, strict=True)]
        width = int(self.widths[rows].max()) // self.readings
        ids = np.full((len(chosen), width), self.pad_id, dtype=np.int64)
        mask = np.zeros((len(chosen), width), dtype=np.int64)
        for i, row in enumerate(chosen):
            ids[i, : len(row)] = row
            mask[i, : len(row)] = 1
        shape = (len(rows), width) if self.readings == 1 else (len(rows), self.readings, width)
        arrays = {"input_ids": ids.reshape(shape), "attention_mask": mask.reshape(shape)}
        if self.columns is not None:
            arrays["columns"] = np.full(shape, -1, dtype=np.int64)
            for i, row in enumerate(rows):
                arrays["columns"][i, : len(self.columns[row])] = self.columns[row]
        return arrays

    @property
    def variants(self) -> int | None:
        """1; None where tokens are hidden, others every epoch."""
        return 1 if self.hiding is None else None

    @property
    def augmented(self) -> bool:
        """Whether tokens are hidden in training."""
        return self.hiding is not None

    def variant(self, rows: np.ndarray, epoch: int | None) -> np.ndarray:
        """Return 0 where no tokens are hidden; else the epoch, and -1 for texts as they are."""
        number = 0 if self.hiding is None else -1 if epoch is None else epoch
        return np.full(len(rows), number, dtype=np.int64)

    def not_cacheable(self) -> str | None:
        """Return that other tokens are hidden every epoch, where they are."""
        if self.hiding is None:
            return None
        return "other tokens are hidden every epoch; set model.text.token_dropout=0 to cache"

    def aligned(self) -> TextRows:
        """Return the same rows, padded to a multiple of `LANES`."""
        return replace(self, multiple=LANES)

    def identity(self, *, files: bool) -> Iterator[bytes]:
        """Yield the token ids of all rows, and with `files` also how they are padded."""
        if self.readings > 1:
            yield f"{self.readings} readings".encode()
        yield self.token_counts.tobytes()
        yield from (row.tobytes() for row in self.ids)
        if files:
            yield repr((self.pad_id, self.pad_to, self.least, self.multiple, self.most)).encode()
        if files and self.hiding is not None:
            yield repr(self.hiding).encode()
