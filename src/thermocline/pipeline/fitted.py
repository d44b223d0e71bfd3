"""What a fit has made, as it is saved and loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from thermocline.contracts.baseline import Reference
from thermocline.contracts.problem import Assembly
from thermocline.training.history import History


@dataclass(frozen=True)
class Fitted:
    """A fitted model.

    Attributes:
        assembly: The model; of one that was loaded, in eval mode on the CPU.
        history: What happened.
        identity: Names the run, for its folder.
        ended: Whether it came to its end; Ctrl-C leaves checkpoints from which it can go on.
        leaderboard: The fits that it was chosen from, as JSON takes it (`choose.leaderboard`); None where it is the
            only one.
        steps: Optimizer steps of its whole schedule; 0 where it was loaded.
        reference: What its score is seen against; None where it is not known.
        seconds: Stage → seconds that it took in this process; empty where it was loaded.
        losses: What `Problem.row_losses` gives for the validation rows; None where it was loaded or there are none.
    """

    assembly: Assembly
    history: History
    identity: str
    ended: bool = True
    leaderboard: Mapping[str, Any] | None = None
    steps: int = 0
    losses: np.ndarray | None = None
    reference: Reference | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
