"""What a caller asked for, as it travels through the pipeline."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from thermocline.config import Drawn
from thermocline.tuning.plan.layer_plan import LayerPlan


@dataclass(frozen=True)
class Request:
    """What `fit` or `explain` was asked for; see `Predictor.fit` for each field.

    Attributes:
        memory: What a fit may take, beyond what the process has: bytes, or a text with a unit; None: no limit.
        chosen: Option → the value that the program has settled before, and why.
        began: When the time began, by `time.monotonic()`; None: when the fit begins.
        problem: The caller's own kind of problem (`contracts.problem.Problem`), or None.
        callbacks: Callbacks (`training.callbacks.Callback`).
        loggers: Loggers (`training.loggers.Logger`), besides those that `env.loggers` names.
        drawn: What a search has chosen in place of the spaces among the hyperparameters; None without a search.
        training: Whether a fit follows: what it would write is checked then.
    """

    data: object
    label: str | Sequence[str]
    tuning_data: object = None
    problem_type: str | None = None
    eval_metric: str | None = None
    positive_class: Any = None
    weight: str | None = None
    problem: Any = None
    presets: Any = None
    hyperparameters: Any = None
    column_types: Mapping[str, str] | None = None
    time_limit: float | str | None = None
    began: float | None = None
    memory: int | str | None = None
    chosen: Mapping[str, tuple[Any, str]] = field(default_factory=dict)
    plan: LayerPlan | str | os.PathLike[str] | None = None
    seed: int = 0
    path: Path | None = None
    resume: bool = False
    callbacks: Sequence[Any] = ()
    loggers: Sequence[Any] = ()
    drawn: Drawn | None = None
    verbosity: int = 1
    training: bool = True
