"""Text columns as token ids: columns are joined, cut fairly, and padded to the longest row of a batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from thermocline.data.columns import Column, Columns
from thermocline.data.frames import texts
from thermocline.data.row_part import RowPart

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

LEAST = 16
"""Tokens that every batch is padded to. Kernels on the CPU add up fewer than 16 columns in another order than 16 or
more; from 16 on, a row's values are bit for bit the same whatever other rows are in its batch."""

LANES = 16
"""Aligned rows are padded to a multiple of this, so that a row's values are the same bits in every batch, however wide:
columns beyond the last whole vector of a CPU (16 floats in AVX-512, 8 in AVX2) are added up apart."""

LONGEST = 512  # tokens; a longer default would cost more than it tells on most frames


@dataclass(frozen=True)
class TextRows(RowPart):
    """Token ids of every row, ragged.

    Attributes:
        ids: One int32 array of token ids a row.
        pad_id: The id that fills a shorter row.
        pad_to: Pad every batch to this many tokens, or `None` for the longest row of the batch.
        least: In that case, pad to at least this many; see `LEAST`.
        multiple: And to a multiple of this many, but not beyond `most`; see `LANES`.
        most: The most tokens that the model takes, or `None`.
    """

    ids: tuple[np.ndarray, ...]
    pad_id: int
    pad_to: int | None = None
    least: int = LEAST
    multiple: int = 1
    most: int | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def token_counts(self) -> np.ndarray:
        """Tokens of each row, int64 `(rows,)`."""
        return np.fromiter((len(row) for row in self.ids), dtype=np.int64, count=len(self.ids))

    @property
    def lengths(self) -> np.ndarray | None:
        """`token_counts`; None where all batches are padded to one width, since padding then changes the values."""
        return self.token_counts if self.pad_to is None else None

    @cached_property
    def widths(self) -> np.ndarray:
        """Tokens that each row takes up when it is the longest of a batch, int64 `(rows,)`."""
        if self.pad_to is not None:
            return np.full(len(self), self.pad_to, dtype=np.int64)
        widths = -(-np.maximum(self.token_counts, self.least) // self.multiple) * self.multiple
        return np.asarray(widths if self.most is None else np.maximum(np.minimum(widths, self.most), self.token_counts))

    def batch(self, rows: np.ndarray, epoch: int | None = None) -> dict[str, np.ndarray]:
        """Return `input_ids` and `attention_mask`, int64 `(len(rows), longest)`, padded on the right."""
        del epoch
        chosen = [self.ids[row] for row in rows]
        width = int(self.widths[rows].max())
        ids = np.full((len(chosen), width), self.pad_id, dtype=np.int64)
        mask = np.zeros((len(chosen), width), dtype=np.int64)
        for i, row in enumerate(chosen):
            ids[i, : len(row)] = row
            mask[i, : len(row)] = 1
        return {"input_ids": ids, "attention_mask": mask}

    def aligned(self) -> TextRows:
        """Return the same rows, padded to a multiple of `LANES`."""
        return replace(self, multiple=LANES)

    def identity(self, *, files: bool) -> Iterator[bytes]:
        """Yield the token ids of all rows, and with `files` also how they are padded."""
        yield self.token_counts.tobytes()
        yield from (row.tobytes() for row in self.ids)
        if files:
            yield repr((self.pad_id, self.pad_to, self.least, self.multiple, self.most)).encode()


class TextProcessor:
    """Tokenises the text columns of a frame into one sequence a row.

    With several columns each keeps its place: `names` writes `name: value`, `separator` puts the
    tokenizer's separator between the values. Where the whole is too long the longest column is cut first.

    Args:
        tokenizer: A transformers tokenizer.
        columns: The text columns, in order.
        join: `names` or `separator`.
        max_length: The most tokens a row, special tokens included.
        pad_to_longest: False pads every batch to `max_length` (for models that look at padding).
        most: The most tokens that the model takes; `None` for `max_length`.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        columns: Sequence[Column],
        *,
        join: str,
        max_length: int,
        pad_to_longest: bool = True,
        most: int | None = None,
    ) -> None:
        self.tokenizer = tokenizer
        self.columns = tuple(columns)
        self.join = join
        self.max_length = max_length
        self.pad_to_longest = pad_to_longest
        self.most = max_length if most is None else most
        self.prefix, self.suffix, self.separator = _special_ids(tokenizer)

    def rows(self, frame: pd.DataFrame) -> TextRows:
        """Tokenise a frame's text columns."""
        pieces = [self._pieces(frame[column.name], column) for column in self.columns]
        room = self.max_length - len(self.prefix) - len(self.suffix)
        ids = [self._join(row, room) for row in zip(*pieces, strict=True)]
        pad = self.tokenizer.pad_token_id
        return TextRows(
            tuple(ids),
            int(pad if pad is not None else 0),
            None if self.pad_to_longest else self.max_length,
            min(LEAST, self.most),
            most=self.most,
        )

    def _pieces(self, series: pd.Series[Any], column: Column) -> list[list[int]]:
        named = self.join == "names" and len(self.columns) > 1
        values = [
            "" if value is None else f"{column.name}: {value}" if named else value for value in texts(series, column)
        ]
        if not values:
            return []
        encoded = self.tokenizer(
            values,
            add_special_tokens=False,
            truncation=True,
            max_length=self.max_length,
            return_attention_mask=False,
            return_token_type_ids=False,
        )
        return list(encoded["input_ids"])

    def _join(self, pieces: Sequence[Sequence[int]], room: int) -> np.ndarray:
        # with the separator every column keeps its place, missing or not; names tell the place themselves
        kept = [list(p) for p in pieces if p or self.join == "separator"]
        room = max(room - len(self.separator) * max(len(kept) - 1, 0), len(kept))
        budget = _fair_share([len(p) for p in kept], room)
        body: list[int] = []
        for i, (piece, size) in enumerate(zip(kept, budget, strict=True)):
            body += (self.separator if i else []) + piece[:size]
        ids = self.prefix + body + self.suffix
        return np.asarray(ids or [int(self.tokenizer.pad_token_id or 0)], dtype=np.int32)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON; the tokenizer is saved beside it."""
        return {
            "columns": Columns(self.columns).to_dict(),
            "join": self.join,
            "max_length": self.max_length,
            "pad_to_longest": self.pad_to_longest,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase) -> TextProcessor:
        """Inverse of `to_dict`."""
        return cls(
            tokenizer,
            Columns.from_dict(data["columns"]).columns,
            join=data["join"],
            max_length=data["max_length"],
            pad_to_longest=data["pad_to_longest"],
        )


def choose_max_length(lengths: np.ndarray, model_limit: int) -> tuple[int, str]:
    """Choose how many tokens a row may have, and say why.

    Args:
        lengths: Tokens per training row, uncut up to `model_limit`.
        model_limit: The most tokens the model takes.
    """
    limit = min(model_limit, LONGEST)
    need = int(np.quantile(lengths, 0.995)) if len(lengths) else limit
    chosen = min(limit, max(16, -(-need // 8) * 8))
    cut = int((lengths > chosen).sum())
    return chosen, f"99.5 % of the training rows have at most {need} tokens; {cut} rows are cut"


def _special_ids(tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int], list[int]]:
    """Return the ids a tokenizer puts before a text, after it, and between two."""
    bare = list(tokenizer("a", add_special_tokens=False)["input_ids"])
    full = list(tokenizer("a")["input_ids"])
    start = next((i for i in range(len(full)) if full[i : i + len(bare)] == bare), 0)
    between = tokenizer.sep_token_id if tokenizer.sep_token_id is not None else tokenizer.eos_token_id
    separator = [int(between)] if between is not None else list(tokenizer("\n", add_special_tokens=False)["input_ids"])
    return full[:start], full[start + len(bare) :], separator


def _fair_share(lengths: Sequence[int], room: int) -> list[int]:
    """Cut the longest first until all fit into `room`: the level at which water stands in the columns."""
    if sum(lengths) <= room:
        return list(lengths)
    left, shares = room, [0] * len(lengths)
    for rank, i in enumerate(sorted(range(len(lengths)), key=lambda i: lengths[i])):
        shares[i] = min(lengths[i], left // (len(lengths) - rank))
        left -= shares[i]
    return shares
