"""How a model is trained and scored: loss, start of the head, and what is collected over a pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np

from thermocline.data.batches import Rows
from thermocline.registry.own_problem import loss_checked

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Objective:
    """What training minimises. The loss of a step is the sum over its micro-batches, divided by their total weight.

    Attributes:
        total: (model outputs, batch) → sum of the losses in the batch, each times its weight.
        weight: batch → the sum of these weights.
        whole_batch: Whether rows of a batch are compared with each other, so that micro-batches would change the loss.

    Example:
        >>> from torch.nn import functional as F
        >>> from thermocline.contracts.learning import Objective
        >>> objective = Objective(
        ...     lambda outputs, batch: F.cross_entropy(outputs, batch["target"], reduction="sum"),
        ...     lambda batch: float(len(batch["rows"])),
        ... )
    """

    total: Callable[[Any, Mapping[str, Any]], torch.Tensor]
    weight: Callable[[Mapping[str, Any]], float]
    whole_batch: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "total", loss_checked(self.total))


class Start(Protocol):
    """A start of the head that is computed from features of the training rows, before the first step."""

    @property
    def name(self) -> str:
        """What the head starts at, such as `the probe`."""

    @property
    def rows(self) -> np.ndarray:
        """Positions of the training rows that it is computed from, sorted."""

    @property
    def memory(self) -> int:
        """About how many bytes it takes."""

    def features(self, batch: Mapping[str, Any]) -> torch.Tensor:
        """Return features float `(rows, width)`; what the pass over the training rows computes."""

    def apply(self, features: np.ndarray, reached: np.ndarray, seconds_left: Callable[[], float]) -> str:
        """Fit it to the rows that were reached, write it into the model, and return a note, empty where none was done.

        Args:
            features: float32 `(rows, width)`, of `rows`; may be overwritten.
            reached: Which of these rows have features, bool `(rows,)`: a time limit may leave some out.
            seconds_left: Returns the seconds that it may still take; infinite without a limit.
        """


class Collector(Protocol):
    """Collects what passes over rows give, batch by batch, and scores it."""

    def compute(self, batch: Mapping[str, Any]) -> Any:
        """Return what to collect of a batch; runs the model."""

    def add(self, positions: np.ndarray, values: Any) -> None:
        """Keep what a batch gave.

        Args:
            positions: The batch's row positions, int64 `(batch,)`.
            values: What `compute` returned.
        """

    def outputs(self) -> Any:
        """Return all that was collected, in the order of the rows."""

    def scores(self, metrics: Sequence[Any]) -> dict[str, float]:
        """Return metrics over the rows that were reached; NaN where one is not defined.

        Args:
            metrics: Canonical names, and metrics of the caller's own (`Problem.check_metric`), which go by their names
                in what is returned. A name may stand for several scores of other names.
        """

    def fallback_loss(self) -> float | None:
        """Return the loss over the rows reached, which decides where the metric is not defined, or None."""


@dataclass(frozen=True)
class Judged:
    """What outputs on the validation rows are worth, beside their score.

    Attributes:
        loss: The loss, of which less is better.
        parts: The score with one part of the rows left out, for each part; more is better. NaN where the metric is not
            defined.
    """

    loss: float
    parts: np.ndarray

    def clearly_behind(self, other: Judged) -> bool:
        """Whether the score is below another one on the same rows by more than the standard error of the difference.

        The error is that of the jackknife over parts of the rows (Efron and Tibshirani 1993, chapter 11).
        """
        less = other.parts - self.parts
        count, mean = len(less), float(less.mean())
        return mean > float(np.sqrt((count - 1) / count * ((less - mean) ** 2).sum()))


Judge: TypeAlias = "Callable[[np.ndarray, Rows], Judged]"
"""(outputs on rows, the rows) → what they are worth."""


@dataclass(frozen=True)
class Learning:
    """How a model is trained.

    Attributes:
        objective: The loss.
        varying: Draws, from torch's generator, what is added to a batch of training rows before the model and the loss
            see it; None: nothing. The generator is seeded for each step.
        start: Computes a start of the head from features, or None.
        start_note: What step 0 of the history says where there is no start.
        untrained: What step 0 is called where there is no start.
        also_score: Metrics that the history shows besides the one that decides.
        judge: Tells of outputs on the validation rows what decides between states whose scores differ by no more than
            chance would have it; None: the score alone decides.
        end_share: The share of a time limit that is kept for what the problem does at the end of a fit.

    Example:
        >>> from thermocline.contracts.learning import Learning, Objective
        >>> objective = Objective(lambda outputs, batch: outputs.sum(), lambda batch: float(len(batch["rows"])))
        >>> Learning(objective).start is None  # no probe
        True
    """

    objective: Objective
    varying: Callable[[], Mapping[str, Any]] | None = None
    start: Start | None = None
    judge: Judge | None = None
    start_note: str = "the head starts at random"
    untrained: str = "the untrained head"
    also_score: tuple[str, ...] = ()
    end_share: float = 0.03
