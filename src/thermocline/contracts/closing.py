"""The end of a fit: what a kind of problem may compute on the state that is kept, and what it settles by that."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from thermocline.data.batches import Rows

if TYPE_CHECKING:
    import torch

Compute = Callable[[Mapping[str, Any]], "torch.Tensor"]
"""What is computed of a batch: float `(rows, width)`."""


@dataclass(frozen=True)
class Closing:
    """What is at hand when training has ended and the model is in the state that is kept, in eval mode.

    Attributes:
        rows: Rows that `train` and that are there to `valid`ate.
        scores: What the state was scored with in validation, by metric.
        valid_outputs: Its outputs on the validation rows, float32 `(rows, width)`, NaN where the time limit left a row
            out; None where it was not scored, or where the problem collects no arrays.
        at_start: Whether it is the state before the first step, such as the probe.
        collect: (`train` or `valid`, what to compute, sorted positions of rows) → float32 `(rows, width)`, and which
            were reached, bool `(rows,)`: a pass over these rows, without augmentation, for at most half of the time
            that is left.
        train_on_all: Trains the model, in the state that is kept, for some epochs on the training and validation rows
            together, and returns whether it did.
        seconds_left: Returns the seconds that are left; infinite without a limit.
        seed: The run's seed.
    """

    rows: Mapping[str, Rows]
    scores: Mapping[str, float]
    valid_outputs: np.ndarray | None
    at_start: bool
    collect: Callable[[str, Compute, np.ndarray], tuple[np.ndarray, np.ndarray]]
    train_on_all: Callable[[int], bool]
    seconds_left: Callable[[], float]
    seed: int


@dataclass(frozen=True)
class Settled:
    """What was settled at the end of a fit.

    Attributes:
        target: The target with what validation decided, such as a threshold.
        scores: The scores of what predicts in the end, by metric.
        notes: What was done, a line each for the history.
        kept: What the line on the state that is kept says besides which one it is, such as `, with trees`.
        outputs: What predicts in the end gave for the validation rows, as `Closing.valid_outputs`; None: not known.
    """

    target: Any
    scores: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    kept: str = ""
    outputs: np.ndarray | None = None
