"""Models beside the network: the mean of both predictions, and how much each counts in it; trees, and their cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from thermocline.problems.rowwise.tree_ensemble import CODES, EnsembleShape, TreeEnsemble

MOST_CATEGORIES = 254  # scikit-learn's bins, less one for what is missing
SHARES = np.linspace(0.0, 1.0, 51)
PRIOR = 3.0  # nats that the validation rows have to say for one of the two alone, against the mean of both
assert MOST_CATEGORIES < CODES


@dataclass(frozen=True)
class Blended:
    """What came of a model beside the network.

    Attributes:
        share: What it counts in the predictions; 0 where there is none.
        outputs: The outputs on the validation rows from here on, float32 `(rows, width)`, or None where they are not
            known. The model counts in them as it predicts rows that it has not seen.
        notes: What was done, or why nothing.
    """

    share: float
    outputs: np.ndarray | None
    notes: tuple[str, ...] = ()


class Beside(nn.Module):
    """A model that predicts beside the network.

    Attributes:
        share: Its share of the prediction, a number from 0 to 1.
    """

    share: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("share", torch.ones(()))

    def raw(self, batch: Mapping[str, Any]) -> torch.Tensor:
        """Return its own outputs, float32 `(rows, width)`; of two classes one number may stand for both."""
        raise NotImplementedError

    def describe(self) -> dict[str, Any]:
        """Return the shapes of its buffers as plain data for JSON."""
        raise NotImplementedError

    def forward(self, outputs: torch.Tensor, batch: Mapping[str, Any]) -> torch.Tensor:
        """Return the mean of what the network gives and of its own outputs, float32 `(rows, width)`.

        Args:
            outputs: The network's, `(rows, width)`: logits of classes, or a number.
            batch: The batch.
        """
        return mixed(outputs, both_classes(self.raw(batch), outputs.shape[1]), self.share)


class Blend(Beside):
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


def both_classes(raw: torch.Tensor, width: int) -> torch.Tensor:
    """Return outputs as a network has them, `(rows, width)`, where of two classes one number stands for both."""
    return torch.cat([-raw / 2, raw / 2], dim=1) if width == 2 and raw.shape[1] == 1 else raw


def mixed(outputs: torch.Tensor, other: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
    """Return the mean of two numbers, or the logarithm of the mean of two sets of probabilities.

    Args:
        outputs: Logits of classes, or a number, `(rows, width)`.
        other: The same of another model.
        share: What `other` counts, a number from 0 to 1.
    """
    outputs = outputs.to(other.dtype)
    if outputs.shape[1] == 1:
        return (1 - share) * outputs + share * other
    network = outputs.log_softmax(dim=1) + (1 - share).log()
    return torch.logaddexp(network, other.log_softmax(dim=1) + share.log())


def best_share(
    outputs: np.ndarray, other: np.ndarray, encoded: np.ndarray, weight: np.ndarray, *, middle: float = 0.5
) -> tuple[float, float]:
    """Return the share of another model that predicts rows best, and its cost in nats: log-loss or squared error.

    A prior keeps few rows from choosing one of the two alone.

    Args:
        outputs: The network's `(rows, width)`.
        other: Those of a model that has not seen the rows.
        encoded: Encoded labels.
        weight: Row weights, above 0.
        middle: The share that the prior is for.
    """
    weight = np.asarray(weight / weight.mean(), dtype=np.float64)
    costs = [_nats(outputs, other, encoded, weight, share) + 4 * PRIOR * (share - middle) ** 2 for share in SHARES]
    best = int(np.argmin(costs))
    return float(SHARES[best]), costs[best]


def _nats(outputs: np.ndarray, other: np.ndarray, encoded: np.ndarray, weight: np.ndarray, share: float) -> float:
    network, beside = (torch.from_numpy(np.asarray(one, dtype=np.float64)) for one in (outputs, other))
    blend = mixed(network, beside, torch.tensor(share, dtype=torch.float64)).numpy()
    if blend.shape[1] > 1:
        return float(-(blend[np.arange(len(blend)), encoded] * weight).sum())
    errors = (blend[:, 0] - encoded[:, 0]) ** 2
    return float(0.5 * len(errors) * np.log(max(np.average(errors, weights=weight), 1e-12)))
