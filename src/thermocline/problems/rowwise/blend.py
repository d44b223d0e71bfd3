"""Trees beside the network: the cells that they see, the mean of both predictions, and how much each counts in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from thermocline.problems.rowwise.tree_ensemble import CODES, EnsembleShape, TreeEnsemble

MOST_CATEGORIES = 254  # scikit-learn's bins, less one for what is missing
SHARES = np.linspace(0.0, 1.0, 51)
PRIOR = 3.0  # nats that the validation rows have to say for one of the two alone, against the mean of both
assert MOST_CATEGORIES < CODES


class Blend(nn.Module):
    """Trees on a table's cells, and their share of the prediction.

    Args:
        shape: The size of the trees.
        cardinalities: Codes per categorical column of the table, the 0 for missing included.

    Attributes:
        share: Of the trees, a number from 0 to 1.
    """

    share: torch.Tensor

    def __init__(self, shape: EnsembleShape, cardinalities: Sequence[int]) -> None:
        super().__init__()
        self.cardinalities = list(cardinalities)
        self.trees = TreeEnsemble(shape)
        self.register_buffer("share", torch.ones(()))

    def forward(self, outputs: torch.Tensor, table: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the mean of what a network and the trees give, float32 `(rows, width)`.

        Args:
            outputs: The network's, `(rows, width)`: logits of classes, or a number.
            table: The table's part of the batch.
        """
        raw = self.trees(tree_cells(table, self.cardinalities))
        return mixed(outputs, tree_outputs(raw, outputs.shape[1]), self.share)

    def describe(self) -> dict[str, Any]:
        """Return what `rebuilt` needs as plain data for JSON."""
        return {"trees": self.trees.shape.to_dict(), "cardinalities": self.cardinalities}

    @classmethod
    def rebuilt(cls, described: Mapping[str, Any]) -> Blend:
        """Return a blend of the same shapes; the buffers are loaded by the caller."""
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


def tree_outputs(raw: torch.Tensor, width: int) -> torch.Tensor:
    """Return outputs as a network has them, `(rows, width)`: of two classes trees give one number for both."""
    return torch.cat([-raw / 2, raw / 2], dim=1) if width == 2 and raw.shape[1] == 1 else raw


def mixed(outputs: torch.Tensor, trees: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
    """Return the mean of two numbers, or the logarithm of the mean of two sets of probabilities.

    Args:
        outputs: Logits of classes, or a number, `(rows, width)`.
        trees: The same of trees.
        share: What `trees` count, a number from 0 to 1.
    """
    outputs = outputs.to(trees.dtype)
    if outputs.shape[1] == 1:
        return (1 - share) * outputs + share * trees
    network = outputs.log_softmax(dim=1) + (1 - share).log()
    return torch.logaddexp(network, trees.log_softmax(dim=1) + share.log())


def choose_share(outputs: np.ndarray, trees: np.ndarray, encoded: np.ndarray, weight: np.ndarray) -> float:
    """Return the share of trees that predicts rows best, by log-loss or squared error.

    A prior for the mean of both keeps few rows from choosing one of the two alone.

    Args:
        outputs: The network's `(rows, width)`.
        trees: Those of trees that have not seen the rows.
        encoded: Encoded labels.
        weight: Row weights, above 0.
    """
    weight = np.asarray(weight / weight.mean(), dtype=np.float64)
    costs = [_nats(outputs, trees, encoded, weight, share) + 4 * PRIOR * (share - 0.5) ** 2 for share in SHARES]
    return float(SHARES[int(np.argmin(costs))])


def _nats(outputs: np.ndarray, trees: np.ndarray, encoded: np.ndarray, weight: np.ndarray, share: float) -> float:
    network, other = (torch.from_numpy(np.asarray(one, dtype=np.float64)) for one in (outputs, trees))
    blend = mixed(network, other, torch.tensor(share, dtype=torch.float64)).numpy()
    if blend.shape[1] > 1:
        return float(-(blend[np.arange(len(blend)), encoded] * weight).sum())
    errors = (blend[:, 0] - encoded[:, 0]) ** 2
    return float(0.5 * len(errors) * np.log(max(np.average(errors, weights=weight), 1e-12)))
