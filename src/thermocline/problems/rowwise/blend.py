"""Models beside the network: whether there is one, the mean of both predictions, and how much each counts in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from thermocline.problems.rowwise.losses import Loss
from thermocline.problems.rowwise.objective import row_losses

FEWEST_ROWS = 100  # of training, with `auto`
FEWEST_VALID = 10
SHARES = np.linspace(0.0, 1.0, 51)


@dataclass(frozen=True)
class Prior:
    """What keeps few validation rows from choosing one of two models alone.

    Attributes:
        middle: The share that it is for.
        nats: What the validation rows have to say for one of the two alone, against equal shares.
    """

    middle: float = 0.5
    nats: float = 3.0


EQUAL = Prior()


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


def announced(name: str, planned: str, asked: str, rows: int, *, why_not: str, of_loss: str = "") -> tuple[bool, str]:
    """Return whether a model is going to be fitted, and a line on it; an empty one where nothing is to be said.

    Args:
        name: The model, as in `no trees beside the network`.
        planned: The line where it is going to be fitted.
        asked: `auto`, `on` or `off`.
        rows: Number of training rows.
        why_not: Why there can be none, or nothing.
        of_loss: Alike, where the loss that was set is the reason, which is always said.
    """
    if of_loss and not why_not and (asked == "on" or (asked == "auto" and rows >= FEWEST_ROWS)):
        return False, f"no {name} beside the network: {of_loss}"
    if of_loss:
        return False, ""
    if why_not:
        return False, f"no {name} beside the network: {why_not}" if asked == "on" else ""
    if asked == "on" or (asked == "auto" and rows >= FEWEST_ROWS):
        return True, planned
    return False, ""


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


def known_rows(outputs: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return which validation rows a share is chosen by, bool `(rows,)`: those that were reached, and have a weight."""
    return np.asarray(np.isfinite(outputs).all(axis=1) & (weights > 0))


def mixed_where(known: np.ndarray, outputs: np.ndarray, other: np.ndarray, share: float) -> np.ndarray:
    """Return `mixed` outputs of validation rows, NaN where a row is not known."""
    mix = mixed(torch.from_numpy(outputs), torch.from_numpy(other), torch.tensor(share)).numpy()
    mix[~known] = np.nan
    return mix


def best_share(
    outputs: np.ndarray,
    other: np.ndarray,
    encoded: np.ndarray,
    weight: np.ndarray,
    prior: Prior = EQUAL,
    loss: Loss | None = None,
) -> tuple[float, float]:
    """Return the share of another model that predicts rows best, and its cost in nats: log-loss or squared error.

    Args:
        outputs: The network's `(rows, width)`.
        other: Those of a model that has not seen the rows.
        encoded: Encoded labels.
        weight: Row weights, above 0.
        prior: For which share, and how strongly.
        loss: Of numbers, where it is not the squared error.
    """
    weight = np.asarray(weight / weight.mean(), dtype=np.float64)
    against = 4 * prior.nats * (SHARES - prior.middle) ** 2
    shares = zip(SHARES, against, strict=True)
    costs = [_nats(outputs, other, encoded, weight, share, loss) + far for share, far in shares]
    best = int(np.argmin(costs))
    return float(SHARES[best]), costs[best]


def _nats(
    outputs: np.ndarray, other: np.ndarray, encoded: np.ndarray, weight: np.ndarray, share: float, loss: Loss | None
) -> float:
    """Return the cost of a share; the error of numbers is normal, or of the density that falls with their loss."""
    network, beside = (torch.from_numpy(np.asarray(one, dtype=np.float64)) for one in (outputs, other))
    blend = mixed(network, beside, torch.tensor(share, dtype=torch.float64)).numpy()
    if blend.shape[1] > 1:
        return float(-(blend[np.arange(len(blend)), encoded] * weight).sum())
    if loss is not None and blend.shape[1] == 1 and encoded.ndim == 2:
        costs = row_losses(loss, torch.from_numpy(blend), torch.from_numpy(encoded)).double().numpy()
        return float(len(costs) * np.log(max(np.average(costs, weights=weight), 1e-12)))
    errors = (blend[:, 0] - encoded[:, 0]) ** 2
    return float(0.5 * len(errors) * np.log(max(np.average(errors, weights=weight), 1e-12)))
