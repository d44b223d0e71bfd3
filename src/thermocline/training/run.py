"""What a training run is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from thermocline.contracts.labelled import Labelled
from thermocline.contracts.problem import Assembly
from thermocline.data.batches import Rows
from thermocline.data.memory_budget import Budget
from thermocline.data.worker_processes import chosen_number
from thermocline.training.callbacks import Callback
from thermocline.training.checkpoint_store import Checkpoint, CheckpointStore
from thermocline.training.open_loggers import OpenLogger
from thermocline.training.time_limit import TimeLimit
from thermocline.tuning.layers.layer_map import LayerMap
from thermocline.tuning.plan.layer_plan import LayerPlan

if TYPE_CHECKING:
    from thermocline.config.schema import EnvConfig, OptimConfig


@dataclass(frozen=True)
class Reporting:
    """Where a run reports.

    Attributes:
        loggers: Where numbers go.
        show: Wraps an iterable in a progress bar: `show(iterable, total, title)`.
        say: Prints a line.
        detail: Prints a line where details are asked for.
    """

    loggers: Sequence[OpenLogger] = ()
    show: Callable[[Any, int, str], Any] = lambda items, _total, _title: items
    say: Callable[[str], None] = lambda _line: None
    detail: Callable[[str], None] = lambda _line: None


@dataclass(frozen=True)
class Storage:
    """Where a run keeps files, and how much memory its caches take.

    Attributes:
        best_states: The folder of the best states while the run lasts.
        store: Where checkpoints are kept; None writes none.
        prefixes: The folder of cached prefixes; None for a temporary one.
        shared: Whether they stay there for other fits.
        budget: Memory that caches may take.
        kept: The file that the state which is kept is written to, before the problem settles what follows from it;
            None: nowhere.
    """

    best_states: Path
    store: CheckpointStore | None = None
    prefixes: Path | None = None
    shared: bool = False
    budget: Budget = field(default_factory=lambda: Budget.of(None))
    kept: Path | None = None


@dataclass(frozen=True)
class Run:
    """Everything a training run is given.

    Attributes:
        assembly: Model, layers, plan, configuration, target.
        train: Training rows.
        valid: Validation rows.
        valid_found: Frame and labels of the validation rows.
        storage: Where files lie.
        seed: Data order, dropout and augmentation are functions of it and the step.
        time_limit: What is left of the time.
        reporting: Where the run reports.
        notes: What happened before training; it opens the history.
        resume: The checkpoint to resume from.
        changes: What differs from the run that it is of; a line each for the history.
        callbacks: Called at moments of training, in this order.
        states: Weights that other runs trained, by name, whose average it ends with; none: it is trained.
    """

    assembly: Assembly
    train: Rows
    valid: Rows
    valid_found: Labelled
    storage: Storage
    seed: int = 0
    time_limit: TimeLimit = field(default_factory=lambda: TimeLimit(None))
    reporting: Reporting = field(default_factory=Reporting)
    notes: Sequence[str] = ()
    resume: Checkpoint | None = None
    changes: Sequence[str] = ()
    callbacks: Sequence[Callback] = ()
    states: Sequence[Mapping[str, torch.Tensor]] = ()

    @property
    def model(self) -> nn.Module:
        """The model."""
        model: nn.Module = self.assembly.model
        return model

    @property
    def layer_map(self) -> LayerMap:
        """The model's layers."""
        return self.assembly.layer_map

    @property
    def plan(self) -> LayerPlan:
        """What they do."""
        return self.assembly.plan

    @property
    def optim(self) -> OptimConfig:
        """The `optim` section of the configuration."""
        return self.assembly.config.optim

    @property
    def env(self) -> EnvConfig:
        """The `env` section of the configuration."""
        return self.assembly.config.env

    @property
    def workers(self) -> int:
        """How many processes make batches of the training rows."""
        return chosen_number(self.env.num_workers, self.train, self.env.device)

    @property
    def facts(self) -> Mapping[str, Any]:
        """What makes this run this run; checkpoints carry it."""
        return self.assembly.facts

    def with_rows(self, train: Rows) -> Run:
        """Return the same run on other training rows."""
        return replace(self, train=train)
