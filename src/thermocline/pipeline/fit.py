"""The road of a fit: prepare, assemble, train. Each step is a room's work."""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
import warnings
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from thermocline.config import ResolvedConfig, read_phase_file, resolve
from thermocline.data.batches import images_kept
from thermocline.data.memory_budget import Budget
from thermocline.data.pixel_cache import Keep
from thermocline.efficiency.costs.forecast import Forecast, costs_of, forecast
from thermocline.efficiency.savings import Savings
from thermocline.errors import ConfigError, ThermoclineWarning
from thermocline.pipeline.assemble import norm_eval_names
from thermocline.pipeline.prepare import Prepared, prepare
from thermocline.pipeline.run_length import fitted_to_run
from thermocline.problems.object_detection.assemble import AnyAssembly
from thermocline.problems.object_detection.prepare import PRESET, DetectionPrepared, prepare_detection
from thermocline.report.console import Console
from thermocline.training.checkpoint_store import Checkpoint, CheckpointStore
from thermocline.training.device import own_accelerator_state
from thermocline.training.history import History
from thermocline.training.loggers import make_loggers
from thermocline.training.run import Run
from thermocline.training.run_identity import HARMLESS, LENGTH, check, facts_of
from thermocline.training.run_savings import cache_options, in_step
from thermocline.training.time_limit import Deadline
from thermocline.training.trainer import Trainer
from thermocline.tuning.plan.layer_plan import LayerPlan
from thermocline.tuning.schedule.phase_files import phases_from_data
from thermocline.tuning.schedule.phases import Phase


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
    resume: bool = False
    verbosity: int = 1
    dry: bool = False


AnyPrepared = Prepared | DetectionPrepared


def fit(request: Request) -> tuple[AnyAssembly, History, str]:
    """Carry a request out.

    Returns:
        The fitted assembly, its history, and an identity for its folder.

    Raises:
        ThermoclineError: See `Predictor.fit`.
    """
    deadline = Deadline(_checked_limit(request.time_limit))
    console = Console(request.verbosity)
    prepared, assembly = planned(request)
    _introduce(console, assembly, prepared)
    train, valid = prepared.rows(assembly, seed=request.seed)
    store = _store(request, assembly.config)
    if store is not None:
        assembly.facts = facts_of(
            assembly.config, assembly.plan, assembly.columns, assembly.task, train, valid, seed=request.seed
        )
    resumed, changes = _resumed(request, store, assembly.facts, console)
    names = assembly.config.env.loggers
    loggers = make_loggers(names, _log_folder(request.path, names), after=resumed.step if resumed else None)
    folder = Path(tempfile.mkdtemp(prefix="thermocline-")) if store is None else store.adopt(resumed)
    budget = Budget.of(assembly.config.env.cache_memory)
    shared = _cache_folder(assembly.config)
    prefixes = shared or (folder if store is None else store.root) / "prefixes"
    if resumed is None and not shared:
        shutil.rmtree(prefixes, ignore_errors=True)
    try:
        with own_accelerator_state(), images_kept([valid, train], _keep(assembly.config, budget)) as (valid, train):
            trainer = Trainer(
                Run(
                    model=assembly.model,
                    layer_map=assembly.layer_map,
                    plan=assembly.plan,
                    task=assembly.task,
                    train=train,
                    valid=valid,
                    optim=assembly.config.optim,
                    env=assembly.config.env,
                    folder=folder,
                    seed=request.seed,
                    norm_eval=norm_eval_names(assembly.model, assembly.config),
                    deadline=deadline,
                    loggers=loggers,
                    show=console.progress,
                    say=console.say,
                    notes=(*prepared.notes, *assembly.notes),
                    store=store,
                    facts=assembly.facts,
                    resume=resumed,
                    changes=changes,
                    model_options=assembly.config.model,
                    budget=budget,
                    cache_folder=prefixes,
                    cache_shared=shared is not None,
                    **prepared.learning(),
                )
            )
            history = trainer.fit()
    finally:
        for logger in loggers:
            logger.close()
        shutil.rmtree(folder, ignore_errors=True)
        if store is not None:
            store.tidy()
    return assembly, history, uuid.uuid4().hex


def check_ended(request: Request, facts: Mapping[str, Any]) -> bool:
    """Check that a run that has ended is the one of a request.

    Args:
        request: What is asked for.
        facts: Of the run that has ended.

    Returns:
        Whether it may run code that its text backbone brings.

    Raises:
        ResumeError: It is another, or was to go on for longer.
    """
    prepared, assembly = planned(request)
    rows = prepared.rows(assembly, seed=request.seed)
    now = facts_of(assembly.config, assembly.plan, assembly.columns, assembly.task, *rows, seed=request.seed)
    where = f"The run that ended in {str(request.path)!r}"
    for line in check(facts, now, where, allowed=HARMLESS, advice="or choose another path for a new run"):
        Console(request.verbosity).say(f"this run has ended before; without effect on it: {line}")
    return assembly.config.model.text.trust_remote_code


def remove_checkpoints(path: Path) -> None:
    """Remove the checkpoints of a run whose end is safe at `path`."""
    CheckpointStore(_checkpoint_folder(path)).remove()


def planned(request: Request) -> tuple[AnyPrepared, AnyAssembly]:
    """Prepare and assemble what a request needs, the plan that it brings included."""
    plan = _read_plan(request.plan)
    prepared, assembly = assembled(request)
    if plan is not None:
        _follow(plan, assembly, len(prepared.train))
    assembly.plan.check(assembly.layer_map)
    return prepared, assembly


def _follow(plan: LayerPlan | tuple[Phase, ...], assembly: AnyAssembly, rows: int) -> None:
    """Put a plan, or phases alone, in place of what the options gave."""
    if isinstance(plan, LayerPlan):
        plan.check(assembly.layer_map)
        for key, value in (("optim.lr", plan.lr), ("optim.lr_choice", plan.lr_choice)):
            assembly.config = assembly.config.choose(key, value, "the plan that was given")
    else:
        plan = assembly.plan.with_phases(plan)
    assembly.plan, assembly.config = fitted_to_run(plan, assembly.config, rows)


def explain(request: Request) -> LayerPlan:
    """Return the plan of a request, saying the choices made on the way."""
    prepared, assembly = planned(request)
    _introduce(Console(request.verbosity), assembly, prepared, plan=False)
    return replace(assembly.plan, estimate=_forecast(prepared, assembly, request.seed))


def _forecast(prepared: AnyPrepared, assembly: AnyAssembly, seed: int) -> Forecast:
    """Return what the run would save and cost."""
    optim, env, plan, layers = assembly.config.optim, assembly.config.env, assembly.plan, assembly.layer_map
    train, valid = prepared.rows(assembly, seed=seed)
    rows = {"train": in_step(train, layers, plan), "valid": valid}
    options = cache_options(len(train), optim, env, Budget.of(env.cache_memory), None, shared=False)
    costs = costs_of(assembly.model, layers, rows["train"], options.usual)
    ever = plan.timeline.ever
    savings = Savings(assembly.model, layers, rows, assembly.config.model, options, lambda: costs, ever, nullcontext)
    probed = optim.head_init == "probe"
    averaged = optim.ema is not None
    return forecast(plan, savings, costs, rows, options, optimizer=optim.optimizer, probed=probed, averaged=averaged)


def assembled(request: Request) -> tuple[AnyPrepared, AnyAssembly]:
    """Prepare the data and assemble the model of a request."""
    _check_seed(request.seed)
    boxes = request.problem_type == "object_detection"
    config = resolve(PRESET if boxes and request.presets is None else request.presets, request.hyperparameters)
    if not request.dry:
        _log_folder(request.path, config.env.loggers)
    road = prepare_detection if boxes else prepare
    prepared = road(
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
    return prepared, prepared.assembled(seed=request.seed, weight=request.weight)


def _keep(config: ResolvedConfig, budget: Budget) -> Keep:
    """Return where decoded images are kept."""
    return Keep(config.env.cache_images, budget, _cache_folder(config), shared=config.env.num_workers > 0)


def _cache_folder(config: ResolvedConfig) -> Path | None:
    """Return the folder of caches that fits share, where one was given."""
    return Path(config.env.cache_folder).expanduser() if config.env.cache_folder else None


def _store(request: Request, config: ResolvedConfig) -> CheckpointStore | None:
    """Return where checkpoints go: beside the path, where there is one."""
    if request.path is None or config.env.checkpoint_every == 0:
        return None
    return CheckpointStore(_checkpoint_folder(request.path), keep=config.env.checkpoints_kept)


def _resumed(
    request: Request, store: CheckpointStore | None, facts: Mapping[str, Any], console: Console
) -> tuple[Checkpoint | None, list[str]]:
    """Find the checkpoint to go on from, and what differs from its run that may."""
    if not request.resume:
        if store is not None and store.holds_any():
            warnings.warn(
                f"{str(store.root)!r} holds checkpoints of a run that did not end. resume=True would continue it; this "
                "one starts anew and replaces them.",
                ThermoclineWarning,
                stacklevel=4,
            )
        return None, []
    if store is None:
        missing = (
            "a path: Predictor(label, path='my_model')" if request.path is None else "env.checkpoint_every above 0"
        )
        raise ConfigError(f"resume=True goes on from checkpoints, which need {missing}.")
    found = store.newest()
    if found is None:
        return None, []
    where = f"The checkpoint of step {found.step} in {str(store.root)!r}"
    advice = "choose another path, or start anew with resume=False, which replaces the checkpoints"
    lines = check(found.content["facts"], facts, where, allowed=(*LENGTH, *HARMLESS), advice=advice)
    console.say(f"goes on from step {found.step}, {str(found.folder)!r}")
    return found, [f"resumed at step {found.step} with {line}" for line in lines]


def _checkpoint_folder(path: Path) -> Path:
    return path.with_name(f"{path.name}-checkpoints")


def _introduce(console: Console, assembly: AnyAssembly, prepared: AnyPrepared, *, plan: bool = True) -> None:
    """Say what was chosen before the work starts."""
    task = assembly.task
    console.say(f"{task.problem_type} on {task.label!r} ({task.reason}); validated by {task.eval_metric}")
    for note in (*prepared.notes, *assembly.notes):
        console.say(note)
    console.say(str(assembly.columns))
    absent = {"text", "image", "table", "detector"} - set(assembly.model.towers)
    console.say(assembly.config.summary(without=[f"model.{name}" for name in absent]))
    if plan:
        console.say(str(assembly.plan))


def _read_plan(plan: LayerPlan | str | os.PathLike[str] | None) -> LayerPlan | tuple[Phase, ...] | None:
    if plan is None or isinstance(plan, LayerPlan):
        return plan
    if not isinstance(plan, str | os.PathLike):
        raise ConfigError(
            "plan is a LayerPlan, or the path to one saved as JSON or to a YAML file of phases, not "
            f"{type(plan).__name__}."
        )
    path = Path(plan)
    if not path.is_file():
        raise ConfigError(
            f"There is no plan at {str(path)!r}. Write one: Path(…).write_text(predictor.explain(…).to_json())."
        )
    try:
        if path.suffix in (".yaml", ".yml"):
            return phases_from_data(read_phase_file(str(path)))
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
