"""Boosted trees as tensors: no pickle, no scikit-learn at prediction, the same bits in every batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import torch
from torch import nn

ONE = 2**32
"""Leaf values are whole numbers of 1 / `ONE`: their sum does not depend on the order in which they are added."""
LEAVES = 16
"""Most leaves a tree."""
PLACES = 19
"""Places of a tree's leaf values: 2 ** k modulo 19 is another number for each k below 18."""
CODES, WORD = 256, 32  # categories that a split can tell apart, as bits of words
AT_ONCE = 1 << 21  # rows times splits, which bounds the memory


@dataclass(frozen=True)
class EnsembleShape:
    """What an ensemble's tensors are as large as.

    Attributes:
        trees: Number of trees.
        splits: Splits of the largest tree; the others are filled up.
        sets: How many of all splits are by category.
        outputs: Outputs a row; each tree adds to one.
    """

    trees: int
    splits: int
    sets: int
    outputs: int

    def to_dict(self) -> dict[str, int]:
        """Return plain data for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, int]) -> EnsembleShape:
        """Inverse of `to_dict`."""
        return cls(**data)


class TreeEnsemble(nn.Module):
    """The sum of decision trees of at most `LEAVES` leaves.

    All splits of all trees are decided at once. The leaves of a tree are bits of a number, left ones first. Each split
    that sends a row to the right takes the leaves on its left away; the row is in the first leaf that remains
    (QuickScorer: Lucchese et al., SIGIR 2015).

    Everything is a buffer, so that it is saved with a model's weights and is never trained.

    Attributes:
        column: Which column a split looks at, int64 `(splits, trees)`.
        threshold: Numbers up to this go left, float32 `(splits, trees)`.
        missing_left: Whether NaN goes left, bool `(splits, trees)`.
        remaining: The leaves that remain for a row that goes right, int32 `(splits, trees)`.
        by_set: Which splits are by category, as positions in `(splits, trees)`, int64 `(sets,)`.
        sets: The categories that go left, 256 bits in words of 32, int32 `(sets, 8)`.
        value: Of the leaves, in parts of `ONE`, int64 `(trees, PLACES)`; leaf k at 2 ** k modulo `PLACES`.
        output: Which output a tree adds to, int64 `(trees,)`.
        base: What the outputs start from, in parts of `ONE`, int64 `(outputs,)`.
    """

    column: torch.Tensor
    threshold: torch.Tensor
    missing_left: torch.Tensor
    remaining: torch.Tensor
    by_set: torch.Tensor
    sets: torch.Tensor
    value: torch.Tensor
    output: torch.Tensor
    base: torch.Tensor
    bits: torch.Tensor

    def __init__(self, shape: EnsembleShape) -> None:
        super().__init__()
        self.shape = shape
        splits = (shape.splits, shape.trees)
        self.register_buffer("column", torch.zeros(splits, dtype=torch.int64))
        self.register_buffer("threshold", torch.zeros(splits))
        self.register_buffer("missing_left", torch.zeros(splits, dtype=torch.bool))
        self.register_buffer("remaining", torch.full(splits, -1, dtype=torch.int32))
        self.register_buffer("by_set", torch.zeros(shape.sets, dtype=torch.int64))
        self.register_buffer("sets", torch.zeros((shape.sets, CODES // WORD), dtype=torch.int32))
        self.register_buffer("value", torch.zeros((shape.trees, PLACES), dtype=torch.int64))
        self.register_buffer("output", torch.zeros(shape.trees, dtype=torch.int64))
        self.register_buffer("base", torch.zeros(shape.outputs, dtype=torch.int64))
        bits = [1 << bit if bit < WORD - 1 else -(1 << bit) for bit in range(WORD)]
        self.register_buffer("bits", torch.tensor(bits, dtype=torch.int32), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the sum of the trees, float32 `(rows, outputs)`.

        Args:
            x: Float32 `(rows, columns)`: numbers, and categories as whole numbers from 0; NaN where missing or unknown.
        """
        if torch.compiler.is_exporting():  # one graph for any number of rows
            return self._sums(x.T).float() / ONE
        rows = max(1, AT_ONCE // max(1, self.column.numel()))
        parts = [self._sums(part.T.contiguous()) for part in torch.split(x, rows)]
        return torch.cat(parts).float() / ONE

    def _sums(self, x: torch.Tensor) -> torch.Tensor:
        """Return the sums int64 `(rows, outputs)` of cells `(columns, rows)`."""
        left = self._left(x)
        leaves = torch.full((self.shape.trees, x.shape[1]), -1, dtype=torch.int32, device=x.device)
        for decided, remaining in zip(left, self.remaining, strict=True):
            leaves &= torch.where(decided, -1, remaining[:, None])
        first = leaves & -leaves
        values = self.value.gather(1, (first % PLACES).long())
        sums = self.base[:, None].repeat(1, x.shape[1])
        return sums.index_add_(0, self.output, values).T

    def _left(self, x: torch.Tensor) -> torch.Tensor:
        """Return which splits send a row left, bool `(splits, trees, rows)`."""
        cells = x.index_select(0, self.column.view(-1))
        left = cells <= self.threshold.view(-1, 1)
        if self.shape.sets:
            code = x.nan_to_num(0.0).clamp(0, CODES - 1).long().index_select(0, self.column.view(-1)[self.by_set])
            word = self.sets.gather(1, code // WORD)
            left[self.by_set] = word & self.bits[code % WORD] != 0
        missing = x.isnan()
        if torch.compiler.is_exporting() or missing.any():
            gone = missing.index_select(0, self.column.view(-1))
            left = (gone & self.missing_left.view(-1, 1)) | (left & ~gone)
        return left.view(*self.column.shape, -1)
