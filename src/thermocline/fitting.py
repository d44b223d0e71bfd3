"""The road of a fit: prepare, assemble, train. Each step is a room's work."""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from thermocline.assembly import Assembly, assemble, norm_eval_names
from thermocline.config import resolve
from thermocline.errors import ConfigError, SelectorError
from thermocline.preparation import Prepared, prepare
from thermocline.report.console import Console
from thermocline.training.callbacks import make_loggers
from thermocline.training.deadline import Deadline
from thermocline.training.device import own_accelerator_state
from thermocline.training.history import History
from thermocline.training.run import Run
from thermocline.training.trainer import Trainer
from thermocline.tuning.plan import LayerPlan


@dataclass(frozen=True)
class Request:
    """What a caller asked for; see `Predictor.fit` for each."""

    data: object
    tuning_data: object
    label: str | Sequence[str]
    problem_type: str | None = None
    eval_metric: str | None = None
    weight: str | None = None
    presets: Any = None
    hyperparameters: Any = None
    column_types: Mapping[str, str] | None = None
    time_limit: float | None = None
    plan: LayerPlan | str | os.PathLike[str] | None = None
    seed: int = 0
    path: Path | None = None
    verbosity: int = 1
    dry: bool = False


def fit(request: Request) -> tuple[Assembly, History, str]:
    """Carry a request out.

    Returns:
        The fitted assembly, its history, and an identity for its folder.

    Raises:
        ThermoclineError: See `Predictor.fit`.
    """
    deadline = Deadline(_checked_limit(request.time_limit))
    console = Console(request.verbosity)
    plan = _read_plan(request.plan)
    prepared, assembly = assembled(request)
    if plan is not None:
        plan.check(assembly.layer_map)
        if all(layer.frozen for layer in plan.layers if layer.n_parameters):
            raise SelectorError("The plan freezes every layer: nothing is left to train. Let one of them train.")
        assembly.plan = plan
        for key, value in (("optim.lr", plan.lr), ("optim.lr_choice", plan.lr_choice)):
            assembly.config = assembly.config.choose(key, value, "the plan that was given")
    _introduce(console, assembly, prepared)
    scratch = Path(tempfile.mkdtemp(prefix="thermocline-"))
    loggers = make_loggers(assembly.config.env.loggers, _log_folder(request.path, assembly.config.env.loggers))
    try:
        with own_accelerator_state():
            trainer = Trainer(
                Run(
                    model=assembly.model,
                    layer_map=assembly.layer_map,
                    plan=assembly.plan,
                    task=assembly.task,
                    train=assembly.rows(prepared.train, prepared.folder, training=True, seed=request.seed),
                    valid=assembly.rows(prepared.valid, prepared.valid_folder),
                    optim=assembly.config.optim,
                    env=assembly.config.env,
                    folder=scratch,
                    seed=request.seed,
                    norm_eval=norm_eval_names(assembly.model, assembly.config),
                    deadline=deadline,
                    loggers=loggers,
                    show=console.progress,
                    say=console.say,
                    notes=(*prepared.notes, *assembly.notes),
                )
            )
            history = trainer.fit()
    finally:
        for logger in loggers:
            logger.close()
        shutil.rmtree(scratch, ignore_errors=True)
    return assembly, history, uuid.uuid4().hex


def explain(request: Request) -> LayerPlan:
    """Return the plan of a request, saying the choices made on the way."""
    prepared, assembly = assembled(request)
    _introduce(Console(request.verbosity), assembly, prepared, plan=False)
    return assembly.plan


def assembled(request: Request) -> tuple[Prepared, Assembly]:
    """Prepare the data and assemble the model of a request."""
    _check_seed(request.seed)
    config = resolve(request.presets, request.hyperparameters)
    if not request.dry:
        _log_folder(request.path, config.env.loggers)
    prepared = prepare(
        request.data,
        request.tuning_data,
        label=request.label,
        problem_type=request.problem_type,
        eval_metric=request.eval_metric,
        weight=request.weight,
        column_types=request.column_types,
        config=config,
        seed=request.seed,
    )
    assembly = assemble(
        prepared.train,
        prepared.columns,
        prepared.task,
        prepared.config,
        prepared.folder,
        seed=request.seed,
        weight=request.weight,
    )
    return prepared, assembly


def _introduce(console: Console, assembly: Assembly, prepared: Prepared, *, plan: bool = True) -> None:
    """Say what was chosen before the work starts."""
    task = assembly.task
    console.say(f"{task.problem_type} on {task.label!r} ({task.reason}); validated by {task.eval_metric}")
    for note in (*prepared.notes, *assembly.notes):
        console.say(note)
    console.say(str(assembly.columns))
    absent = {"text", "image", "table"} - set(assembly.model.towers)
    console.say(assembly.config.summary(without=[f"model.{name}" for name in absent]))
    if plan:
        console.say(str(assembly.plan))


def _read_plan(plan: LayerPlan | str | os.PathLike[str] | None) -> LayerPlan | None:
    if plan is None or isinstance(plan, LayerPlan):
        return plan
    if not isinstance(plan, str | os.PathLike):
        raise ConfigError(f"plan is a LayerPlan or the path to one saved as JSON, not {type(plan).__name__}.")
    path = Path(plan)
    if not path.is_file():
        raise ConfigError(
            f"There is no plan at {str(path)!r}. Write one: Path(…).write_text(predictor.explain(…).to_json())."
        )
    try:
        return LayerPlan.from_json(path.read_text(encoding="utf-8"))
    except (ConfigError, UnicodeDecodeError) as error:
        raise ConfigError(f"The plan {str(path)!r} cannot be read: {error}") from error


def _checked_limit(limit: float | None) -> float | None:
    if limit is None:
        return None
    if isinstance(limit, bool) or not isinstance(limit, int | float | np.number) or not limit > 0:
        raise ConfigError(f"time_limit is a number of seconds above 0, or None; got {limit!r}.")
    return float(limit)


def _check_seed(seed: object) -> None:
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or not 0 <= seed < 2**32:
        raise ConfigError(f"seed is a whole number from 0 to {2**32 - 1}, not {seed!r}.")


def _log_folder(path: Path | None, names: Sequence[str]) -> Path:
    if path is None and names:
        raise ConfigError(
            f"env.loggers={list(names)} write files, so the predictor needs a path: Predictor(label, path='my_model')."
        )
    return path.with_name(f"{path.name}-logs") if path is not None else Path()
