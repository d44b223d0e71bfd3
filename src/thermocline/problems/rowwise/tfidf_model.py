"""A linear model of words and table cells as tensors: no pickle, no scikit-learn at prediction, the same bits in every
batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from thermocline.problems.rowwise.blend import Beside

ONE = 2**32
"""What is added up are whole numbers of 1 / `ONE`: their sum does not depend on the order in which they are added."""
FARTHEST = 5.0  # standard deviations that a number counts as at most
AT_ONCE = 1 << 22  # terms times outputs, which bounds the memory
FIRST, COLUMN = 28, 56  # bits that the first token of a pair, and a term's column, are shifted by
MOST_COLUMNS = 127  # that are told apart


@dataclass(frozen=True)
class TfidfShape:
    """What the tensors of the model are as large as.

    Attributes:
        terms: Tokens and pairs of tokens that are known.
        numbers: Numeric columns.
        cardinalities: Codes per categorical column, the 0 for missing included.
        outputs: Outputs a row.
    """

    terms: int
    numbers: int
    cardinalities: tuple[int, ...]
    outputs: int


class TfidfModel(Beside):
    """A linear model of which terms a text has, and of a table's cells beside it.

    Terms are tokens and pairs of neighbouring tokens of a column. Each counts once a row, by its inverse document
    frequency (Spärck Jones 1972); a row's terms have a norm of 1.

    Everything is a buffer, so that it is saved with a model's weights and is never trained.

    Attributes:
        keys: The terms, ascending, int64 `(terms,)`; see `term_keys`.
        square: The squared weight of each term in a row, in parts of `ONE`, int64 `(terms,)`.
        value: What each term adds to the outputs before the norm, in parts of `ONE`, int64 `(terms, outputs)`.
        number: Coefficients of the numbers float32 `(numbers, outputs)`.
        missing: Of their missing values, alike.
        code: Of the categories, float32 `(codes of all columns, outputs)`.
        bias: float32 `(outputs,)`.
    """

    keys: torch.Tensor
    square: torch.Tensor
    value: torch.Tensor
    number: torch.Tensor
    missing: torch.Tensor
    code: torch.Tensor
    bias: torch.Tensor
    starts: torch.Tensor

    def __init__(self, shape: TfidfShape) -> None:
        super().__init__()
        self.shape = shape
        outputs = shape.outputs
        self.register_buffer("keys", torch.zeros(shape.terms, dtype=torch.int64))
        self.register_buffer("square", torch.zeros(shape.terms, dtype=torch.int64))
        self.register_buffer("value", torch.zeros((shape.terms, outputs), dtype=torch.int64))
        self.register_buffer("number", torch.zeros(shape.numbers, outputs))
        self.register_buffer("missing", torch.zeros(shape.numbers, outputs))
        self.register_buffer("code", torch.zeros(sum(shape.cardinalities), outputs))
        self.register_buffer("bias", torch.zeros(outputs))
        starts = torch.tensor([0, *shape.cardinalities]).cumsum(0)[: len(shape.cardinalities)]
        self.register_buffer("starts", starts, persistent=False)

    def describe(self) -> dict[str, Any]:
        """Return what `rebuilt` needs as plain data for JSON."""
        return asdict(self.shape)

    @classmethod
    def rebuilt(cls, described: Mapping[str, Any]) -> TfidfModel:
        """Return a model of the same shapes; the buffers are loaded by the caller."""
        return cls(TfidfShape(**{**described, "cardinalities": tuple(described["cardinalities"])}))

    def raw(self, batch: Mapping[str, Any]) -> torch.Tensor:
        """Return its outputs, float32 `(rows, outputs)`.

        Args:
            batch: `text` with `input_ids`, `attention_mask` and, of several columns, `columns`, int64 `(rows, tokens)`;
                where there are cells, `table` with `numbers`, `missing` and `codes`.
        """
        text = batch["text"]
        ids, mask = text["input_ids"], text["attention_mask"]
        columns = text["columns"] if "columns" in text else mask - 1
        if torch.compiler.is_exporting():
            total = self._of_terms_traced(ids, columns) + self.bias
        else:
            rows = max(1, AT_ONCE // max(1, 2 * ids.shape[1] * self.shape.outputs))
            parts = [self._of_terms(*part) for part in zip(ids.split(rows), columns.split(rows), strict=True)]
            total = torch.cat(parts) + self.bias
        if self.shape.numbers or self.shape.cardinalities:
            total = total + self._of_cells(batch["table"]).float() / ONE
        return total

    def _of_terms(self, ids: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
        """Return what the terms of rows add, float32 `(rows, outputs)`."""
        sums = self.value.new_zeros(len(ids), self.shape.outputs)
        squares = self.square.new_zeros(len(ids))
        if self.shape.terms:
            keys = _distinct(ids, columns)
            place = torch.searchsorted(self.keys, keys).clamp(max=self.shape.terms - 1)
            row, column = torch.nonzero(self.keys[place] == keys, as_tuple=True)
            found = place[row, column]
            sums.index_add_(0, row, self.value[found])
            squares.index_add_(0, row, self.square[found])
        return _normed(sums, squares)

    def _of_terms_traced(self, ids: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
        """Return the same bits by what a graph for any number of rows and tokens can hold; it takes more memory."""
        if not self.shape.terms:
            return _normed(self.value.new_zeros(ids.shape[0], self.shape.outputs), self.square.new_zeros(ids.shape[0]))
        keys = _distinct(ids, columns)
        place = _last_not_above(self.keys, keys)
        known = self.keys[place] == keys
        squares = torch.where(known, self.square[place], 0).sum(dim=1)
        return _normed(torch.where(known[..., None], self.value[place], 0).sum(dim=1), squares)

    def _of_cells(self, table: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return what the cells of rows add, in parts of `ONE`, int64 `(rows, outputs)`."""
        numbers = table["numbers"].clamp(-FARTHEST, FARTHEST)
        sums = self.value.new_zeros(numbers.shape[0], self.shape.outputs)
        for cells, weight in ((numbers, self.number), (table["missing"], self.missing)):
            for column, of_column in zip(cells.T, weight, strict=True):
                sums += _whole(column[:, None] * of_column)
        for column, start in zip(table["codes"].T, self.starts, strict=True):
            sums += _whole(self.code[column + start])
        return sums


def _normed(sums: torch.Tensor, squares: torch.Tensor) -> torch.Tensor:
    """Return what terms add over the norm of their weights, float32 `(rows, outputs)`."""
    norm = (squares.float() / ONE).sqrt().clamp(min=1e-12)
    return sums.float() / ONE / norm[:, None]


def _last_not_above(known: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
    """Return the place of the last known key that is not above each key, else 0: a binary search.

    Args:
        known: Ascending int64 `(terms,)`.
        keys: int64, of any shape.
    """
    place = torch.zeros_like(keys)
    for bit in reversed(range((len(known) - 1).bit_length())):
        next_place = place + (1 << bit)
        there = (next_place < len(known)) & (known[next_place.clamp(max=len(known) - 1)] <= keys)
        place = torch.where(there, next_place, place)
    return place


def _whole(numbers: torch.Tensor) -> torch.Tensor:
    return (numbers * ONE).round().long()


def term_keys(ids: Any, columns: Any) -> tuple[Any, Any]:
    """Return the keys of tokens, and of pairs of a token with the next; numpy arrays or tensors, int64 `(…, tokens)`.

    A token's key is its id, a pair's `(first + 1) << 28 | second`, both plus `column << 56`. Keys of what is of no
    column, or of two, are -1.

    Args:
        ids: Token ids.
        columns: The column of each, -1 for none.
    """
    of = columns.clip(-1, MOST_COLUMNS - 1)
    first, second = ids[..., :-1], ids[..., 1:]
    one = (of[..., :-1] == of[..., 1:]) & (of[..., 1:] >= 0)
    single = (of >= 0) * (of * 2**COLUMN + ids + 1) - 1
    pair = one * (of[..., 1:] * 2**COLUMN + (first + 1) * 2**FIRST + second + 1) - 1
    return single, pair


def _distinct(ids: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """Return the keys of a row's terms, each once and the rest -1, int64 `(rows, 2 tokens - 1)`."""
    keys = torch.cat(term_keys(ids, columns), dim=1).sort(dim=1).values
    first = torch.ones_like(keys[:, :1], dtype=torch.bool)
    return keys.masked_fill(~torch.cat([first, keys[:, 1:] != keys[:, :-1]], dim=1), -1)


def row_terms(sequences: Sequence[np.ndarray], columns: Sequence[np.ndarray] | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the terms of sequences of tokens, each once a sequence.

    Args:
        sequences: Token ids int32 `(tokens,)` of each.
        columns: The column of each token, alike; None where there is one.

    Returns:
        The sequence of each term, ascending, and its key; int64 `(terms,)` each.
    """
    if not sequences:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    ids = np.concatenate(sequences).astype(np.int64)
    row = np.repeat(np.arange(len(sequences)), [len(one) for one in sequences])
    single, pair = term_keys(ids, np.zeros_like(ids) if columns is None else np.concatenate(columns).astype(np.int64))
    keys = np.concatenate([single, np.where(row[:-1] == row[1:], pair, -1)])
    of = np.concatenate([row, row[:-1]])
    order = np.lexsort((keys, of))
    keys, of = keys[order], of[order]
    first = keys >= 0
    first[1:] &= (keys[1:] != keys[:-1]) | (of[1:] != of[:-1])
    return of[first], keys[first]
