"""What a training run is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from thermocline.config.schema import ModelConfig
from thermocline.data.batches import Rows
from thermocline.data.memory_budget import Budget
from thermocline.training.checkpoint_store import Checkpoint, CheckpointStore
from thermocline.training.loggers import Logger
from thermocline.training.losses import Objective
from thermocline.training.time_limit import Deadline
from thermocline.tuning.layers.layer_map import LayerMap
from thermocline.tuning.plan.layer_plan import LayerPlan

if TYPE_CHECKING:
    import numpy as np

    from thermocline.config.schema import EnvConfig, OptimConfig
    from thermocline.problems.object_detection.model import DetectionModel
    from thermocline.problems.rowwise.fusion import FusionModel
    from thermocline.problems.rowwise.task import Task


class Scoring(Protocol):
    """What a trainer asks of a scorer; see `Scorer`."""

    seconds: float
    by_loss: bool

    def score(self) -> tuple[float, dict[str, float]]:
        """Score the validation rows: a number of which more is better, and metrics by name."""

    def named(self, score: float) -> dict[str, float]:
        """Return a score as history has it."""

    def features(self, *, share: float) -> tuple[np.ndarray, np.ndarray]:
        """Return the features of the training rows, for a share of the time left, and which rows were reached."""


@dataclass
class Run:
    """Everything a training run is given.

    Attributes:
        model: The model, on any device.
        layer_map: Its layers.
        plan: What they do.
        task: Labels, loss and metric.
        train: Training rows.
        valid: Validation rows.
        optim: The `optim` section of the configuration, nothing left to choose.
        env: The `env` section, likewise.
        folder: Where the best states lie meanwhile.
        seed: Data order, dropout and augmentation are functions of it and the step.
        norm_eval: Names of modules whose BatchNorm keeps its statistics though it trains.
        deadline: What is left of the time limit.
        loggers: Where numbers go.
        show: Wraps an iterable in a progress bar: `show(iterable, total, title)`.
        say: Tells the user a line.
        notes: What happened before training; it opens the history.
        store: Where checkpoints are kept; `None` writes none.
        facts: What makes this run this run; checkpoints carry it.
        resume: The checkpoint to go on from.
        changes: What differs from the run that it is of; a line each for the history.
        model_options: The `model` section of the configuration.
        budget: Memory that caches may take.
        cache_folder: Where caches on disk lie; `None` for a temporary folder.
        cache_shared: Whether they stay there for other fits.
        objective: The loss; `None` for the task's, a row at a time.
        scorer: Makes what scores the validation rows, of the run, the device, the precision and the prefix cache;
            `None` for `Scorer`.
    """

    model: FusionModel | DetectionModel
    layer_map: LayerMap
    plan: LayerPlan
    task: Task
    train: Rows
    valid: Rows
    optim: OptimConfig
    env: EnvConfig
    folder: Path
    seed: int = 0
    norm_eval: Sequence[str] = ()
    deadline: Deadline = field(default_factory=lambda: Deadline(None))
    loggers: Sequence[Logger] = ()
    show: Callable[[Any, int, str], Any] = lambda items, _total, _title: items
    say: Callable[[str], None] = lambda _line: None
    notes: Sequence[str] = ()
    store: CheckpointStore | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    resume: Checkpoint | None = None
    changes: Sequence[str] = ()
    model_options: ModelConfig = field(default_factory=ModelConfig)
    budget: Budget = field(default_factory=lambda: Budget.of(None))
    cache_folder: Path | None = None
    cache_shared: bool = False
    objective: Objective | None = None
    scorer: Callable[..., Scoring] | None = None

    def total_steps(self, per_epoch: int) -> int:
        """Return how many optimizer steps the run takes at most."""
        assert self.optim.max_epochs is not None
        steps = per_epoch * self.optim.max_epochs
        return steps if self.optim.max_steps is None else min(steps, self.optim.max_steps)

    def validation_steps(self, per_epoch: int) -> frozenset[int]:
        """Return the steps after which is validated."""
        every, total = max(1, round(self.optim.val_check_interval * per_epoch)), self.total_steps(per_epoch)
        return frozenset({*range(every, total + 1, every), total})
