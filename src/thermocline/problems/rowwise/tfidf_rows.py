"""Rows as a linear model of words sees them: their terms, and a table's cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from thermocline.data.batches import Rows
from thermocline.problems.rowwise.tfidf_model import FARTHEST, ONE, TfidfModel, TfidfShape, row_terms

CELLS = 0.3  # what a table's cells are multiplied by, where a row's terms have a norm of 1
MOST_TERMS = 20_000
MOST_VALUES = 4_000_000  # terms times outputs
MOST_WORK = 40_000_000  # terms of all rows times outputs: half a minute; rows beyond that are left out
ROW_STREAM = 0x7F1D


@dataclass(frozen=True)
class Terms:
    """The terms and cells of rows that have a weight.

    Attributes:
        row: The row of each term, ascending, int64 `(terms,)`.
        key: Its key; see `TfidfModel`.
        cells: The table's cells, sparse float64 `(rows, columns)`; no columns without a table.
        numbers: Numeric columns of the table.
        cardinalities: Codes of its categorical columns.
        y: Class numbers int64 `(rows,)`, or numbers float32 `(rows,)`.
        weight: Row weights `(rows,)`, all above 0.
    """

    row: np.ndarray
    key: np.ndarray
    cells: Any
    numbers: int
    cardinalities: tuple[int, ...]
    y: np.ndarray
    weight: np.ndarray

    @classmethod
    def of(
        cls,
        rows: Sequence[Rows],
        cardinalities: tuple[int, ...] | None,
        outputs: int,
        *,
        seed: int,
        most_work: int = MOST_WORK,
    ) -> Terms:
        """Return the terms and cells of rows; a part of the rows, drawn by the seed, where all are too much work.

        Args:
            rows: One after the other.
            cardinalities: Codes of the table's categorical columns; None without a table.
            outputs: Outputs of the model.
            seed: Of the run.
            most_work: Terms of all rows times outputs, at most.
        """
        texts: list[Any] = [one.parts["text"] for one in rows]
        sequences = [sequence for one in texts for sequence in one.ids]
        columns = [of for one in texts for of in one.columns or ()]
        weight = np.concatenate([one.weights for one in rows])
        used = np.flatnonzero(weight > 0)
        work = 2 * sum(len(sequences[i]) for i in used) * outputs
        if work > most_work:
            most = max(1, int(len(used) * most_work / work))
            used = np.sort(np.random.default_rng([seed, ROW_STREAM]).permutation(used)[:most])
        row, key = row_terms([sequences[i] for i in used], [columns[i] for i in used] if columns else None)
        target = np.concatenate([one.target for one in rows if one.target is not None])[used]
        cells, numbers = _cells(rows, cardinalities, used)
        y = target if target.ndim == 1 else target[:, 0]
        return cls(row, key, cells, numbers, cardinalities or (), y, weight[used].astype(np.float64))


def _cells(rows: Sequence[Rows], cardinalities: tuple[int, ...] | None, used: np.ndarray) -> tuple[Any, int]:
    """Return the cells of some rows, numbers first, then what is missing, then a column for each category."""
    from scipy import sparse

    if cardinalities is None:
        return sparse.csr_matrix((len(used), 0)), 0
    parts: list[Any] = [one.parts["table"] for one in rows]
    numbers, missing, codes = (
        np.concatenate([getattr(part, name) for part in parts])[used] for name in ("numbers", "missing", "codes")
    )
    blocks = [sparse.csr_matrix(np.clip(numbers, -FARTHEST, FARTHEST)), sparse.csr_matrix(missing)]
    for column, count in zip(codes.T, cardinalities, strict=True):
        places = (np.arange(len(column)), column)
        blocks.append(sparse.csr_matrix((np.ones(len(column)), places), shape=(len(column), count)))
    return sparse.hstack(blocks, format="csr", dtype=np.float64) * CELLS, numbers.shape[1]


@dataclass(frozen=True)
class Vocabulary:
    """The terms that a model knows.

    Attributes:
        keys: Of the terms, ascending, int64 `(terms,)`.
        idf: The inverse document frequency of each, float64 `(terms,)`.
        numbers: Numeric columns of the table.
        cardinalities: Codes of its categorical columns.
        outputs: Outputs of the model.
    """

    keys: np.ndarray
    idf: np.ndarray
    numbers: int
    cardinalities: tuple[int, ...]
    outputs: int

    @classmethod
    def of(cls, terms: Terms, outputs: int) -> Vocabulary:
        """Return the terms that most rows have, as many as are kept."""
        keys, counts = np.unique(terms.key, return_counts=True)
        most = min(MOST_TERMS, MOST_VALUES // outputs)
        if len(keys) > most:
            kept = np.sort(np.argsort(-counts, kind="stable")[:most])
            keys, counts = keys[kept], counts[kept]
        idf = np.log((1 + len(terms.y)) / (1 + counts)) + 1  # as scikit-learn has it
        return cls(keys, idf, terms.numbers, terms.cardinalities, outputs)

    def matrix(self, terms: Terms) -> Any:
        """Return the features of rows, sparse float64 `(rows, terms + cells)`."""
        from scipy import sparse

        place = np.searchsorted(self.keys, terms.key)
        place[place == len(self.keys)] = 0
        known = self.keys[place] == terms.key if len(self.keys) else np.zeros(len(place), dtype=bool)
        row, column = terms.row[known], place[known]
        norm = np.sqrt(np.bincount(row, self.idf[column] ** 2, minlength=len(terms.y)))
        shape = (len(terms.y), len(self.keys))
        words = sparse.csr_matrix((self.idf[column] / norm[row], (row, column)), shape=shape)
        return sparse.hstack([words, terms.cells], format="csr")

    def model(self, coefficients: np.ndarray, bias: np.ndarray) -> TfidfModel:
        """Return the model with these coefficients.

        Args:
            coefficients: Of the features, float64 `(outputs, terms + cells)`.
            bias: float64 `(outputs,)`.
        """
        made = TfidfModel(TfidfShape(len(self.keys), self.numbers, self.cardinalities, self.outputs))
        of_words, of_cells = np.split(coefficients.T, [len(self.keys)])
        of_numbers, of_missing, of_codes = np.split(CELLS * of_cells, [self.numbers, 2 * self.numbers])
        values: dict[str, np.ndarray] = {
            "keys": self.keys,
            "square": np.rint(self.idf**2 * ONE).astype(np.int64),
            "value": np.rint(self.idf[:, None] * of_words * ONE).astype(np.int64),
            "number": of_numbers,
            "missing": of_missing,
            "code": of_codes,
            "bias": bias,
        }
        for name, value in values.items():
            getattr(made, name).copy_(torch.from_numpy(np.ascontiguousarray(value)))
        return made
