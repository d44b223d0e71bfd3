"""What of a trainer checkpoints and the end of training read and set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import nn

from thermocline.contracts.learning import Learning
from thermocline.efficiency.savings import Savings
from thermocline.training.best_states import BestStates
from thermocline.training.device import Precision
from thermocline.training.ema import Ema
from thermocline.training.pacing import Pacing
from thermocline.training.recorder import Recorder
from thermocline.training.run import Run
from thermocline.training.run_length import RunLength
from thermocline.training.scoring import Scorer
from thermocline.training.step_results import StepResults
from thermocline.training.stepping import Stepper
from thermocline.tuning.apply import AppliedPlan
from thermocline.tuning.schedule.cursor import Cursor


class Remembered(Protocol):
    """What checkpoints keep of callbacks; see `calling.Calling`."""

    def content(self) -> dict[str, Any]:
        """Return it."""

    def restore(self, content: Mapping[str, Any]) -> list[str]:
        """Give it back."""


class TrainingState(Protocol):
    """The state of a trainer between two steps; see `Trainer` for each attribute."""

    run: Run
    model: nn.Module
    stepper: Stepper
    applied: AppliedPlan
    learning: Learning
    savings: Savings
    device: torch.device
    length: RunLength
    steps_per_epoch: int
    batch_size: int
    micro: int
    trainable: list[nn.Parameter]
    precision: Precision
    frozen: frozenset[str]
    frozen_hash: str | None
    total_steps: int
    cursor: Cursor
    pacing: Pacing
    best: BestStates
    scorer: Scorer
    ema: Ema | None
    record: Recorder
    results: StepResults
    start: str
    lr: float
    worse: int
    to_beat: float
    interrupted: bool

    @property
    def calling(self) -> Remembered:
        """The callbacks."""

    def make_optimizer(self) -> Any:
        """Make the optimizer; see `Trainer`."""
