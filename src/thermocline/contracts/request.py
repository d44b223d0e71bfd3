"""What a caller asked for, as it travels through the pipeline."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from thermocline.config import Drawn, Needed, ResolvedConfig, resolve
from thermocline.registry import ProblemInfo
from thermocline.tuning.plan.layer_plan import LayerPlan


@dataclass(frozen=True)
class Request:
    """What `fit` or `explain` was asked for; see `Predictor.fit` for each field.

    Attributes:
        eval_metric: A name, or a metric of the caller's own (`thermocline.Metric`); None: by problem type.
        memory: What a fit may take, beyond what the process has: bytes, or a text with a unit; None: no limit.
        chosen: Option → the value that the program has settled before, and why.
        began: When the time began, by `time.monotonic()`; None: when the fit begins.
        problem: The caller's own kind of problem (`contracts.problem.Problem`), or None.
        objects: Option → the caller's own object for it, that was given by an argument (`Predictor(model=…)`).
        callbacks: Callbacks (`training.callbacks.Callback`).
        earlier: The predictor that the fit starts from (`contracts.starting.Earlier`), or None.
        loggers: Loggers (`training.loggers.Logger`), besides those that `env.loggers` names.
        drawn: What a search has chosen in place of the spaces among the hyperparameters; None without a search.
        training: Whether a fit follows: what it would write is checked then.
        roles: Columns that were named by what they are for (`ProblemInfo.roles`): argument → name.
    """

    data: object
    label: str | Sequence[str] | None
    tuning_data: object = None
    problem_type: str | None = None
    eval_metric: Any = None
    positive_class: Any = None
    weight: str | None = None
    problem: Any = None
    objects: Mapping[str, Needed] = field(default_factory=dict)
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
    earlier: Any = None
    loggers: Sequence[Any] = ()
    drawn: Drawn | None = None
    verbosity: int = 1
    training: bool = True
    roles: Mapping[str, str] = field(default_factory=dict)

    def settled(self, problem: ProblemInfo, *, drawn: Drawn | None = None) -> ResolvedConfig:
        """Return the options as presets, hyperparameters and the predictor that the fit starts from settle them.

        Args:
            problem: The kind of problem.
            drawn: In place of `self.drawn`.

        Raises:
            ConfigError: See `resolve`.
        """
        before = None if self.earlier is None else self.earlier.assembly.config
        drawn = self.drawn if drawn is None else drawn
        config = resolve(self.presets, self.hyperparameters, problem=problem, drawn=drawn, earlier=before)
        return config.given(self.objects, "Predictor(model=…)")
