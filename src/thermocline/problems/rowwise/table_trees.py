"""Trees on a table's cells, beside the network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from thermocline.problems.rowwise.blend import Beside
from thermocline.problems.rowwise.tree_ensemble import CODES, EnsembleShape, TreeEnsemble

MOST_CATEGORIES = 254  # scikit-learn's bins, less one for what is missing
assert MOST_CATEGORIES < CODES


class TableTrees(Beside):
    """Trees on a table's cells.

    Args:
        shape: The size of the trees.
        cardinalities: Codes per categorical column of the table, the 0 for missing included.
    """

    def __init__(self, shape: EnsembleShape, cardinalities: Sequence[int]) -> None:
        super().__init__()
        self.cardinalities = list(cardinalities)
        self.trees = TreeEnsemble(shape)

    def raw(self, batch: Mapping[str, Any]) -> torch.Tensor:
        """Return the sum of the trees."""
        sums: torch.Tensor = self.trees(tree_cells(batch["table"], self.cardinalities))
        return sums

    def describe(self) -> dict[str, Any]:
        """Return what `rebuilt` needs as plain data for JSON."""
        return {"trees": self.trees.shape.to_dict(), "cardinalities": self.cardinalities}

    @classmethod
    def rebuilt(cls, described: Mapping[str, Any]) -> TableTrees:
        """Return trees of the same shapes; the buffers are loaded by the caller."""
        return cls(EnsembleShape.from_dict(described["trees"]), described["cardinalities"])


def categorical_columns(cardinalities: Sequence[int]) -> list[int]:
    """Return the columns of codes that trees split by sets of categories; more categories are split as numbers."""
    return [j for j, codes in enumerate(cardinalities) if codes - 1 <= MOST_CATEGORIES]


def tree_cells(table: Mapping[str, torch.Tensor], cardinalities: Sequence[int]) -> torch.Tensor:
    """Return the cells of a table as trees see them, float32 `(rows, columns)`.

    The categorical columns come first, as whole numbers from 0. What is missing or unknown is NaN.

    Args:
        table: `numbers` and `missing` float32 `(rows, numeric)`, `codes` int64 `(rows, categorical)`.
        cardinalities: Codes per categorical column.
    """
    first = categorical_columns(cardinalities)
    rest = [j for j in range(len(cardinalities)) if j not in first]
    codes = (table["codes"] - 1).float()
    codes = codes.masked_fill(codes < 0, float("nan"))
    numbers = table["numbers"].masked_fill(table["missing"] > 0, float("nan"))
    return torch.cat([codes[:, first], numbers, codes[:, rest]], dim=1)
