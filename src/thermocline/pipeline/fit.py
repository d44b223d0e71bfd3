"""The road of a fit: prepare, assemble, train."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from thermocline.contracts.baseline import Reference
from thermocline.contracts.closing import Settled
from thermocline.contracts.problem import Assembly
from thermocline.contracts.request import Request
from thermocline.data.batches import Rows, decoded_kept
from thermocline.data.memory_budget import Budget
from thermocline.data.pixel_cache import Keep
from thermocline.data.worker_processes import chosen_number
from thermocline.errors import ThermoclineWarning
from thermocline.pipeline.arguments import memory_of, seconds_of
from thermocline.pipeline.budget import within_memory
from thermocline.pipeline.fitted import Fitted
from thermocline.pipeline.introduction import introduce
from thermocline.pipeline.places import Places
from thermocline.pipeline.prepare import Prepared
from thermocline.pipeline.resume import find_checkpoint
from thermocline.report.console import Console
from thermocline.training.checkpoint_store import Checkpoint
from thermocline.training.history import History
from thermocline.training.loggers import RunInfo
from thermocline.training.memory_check import memory_warning
from thermocline.training.open_loggers import make_loggers, opened
from thermocline.training.run import Reporting, Run
from thermocline.training.run_identity import facts_of
from thermocline.training.time_limit import TimeLimit
from thermocline.training.trainer import Trainer


@dataclass(frozen=True)
class Among:
    """What a fit that is one of several has besides its request.

    Attributes:
        prepared: The data, where another of them was prepared.
        kept: Where the state that is kept is written, before the problem settles what follows from it.
        states: Weights that others trained, by name, whose average it ends with; none: it is trained.
    """

    prepared: Prepared | None = None
    kept: Path | None = None
    states: Sequence[Mapping[str, torch.Tensor]] = ()


def fit(request: Request, among: Among = Among()) -> Fitted:
    """Carry a request out.

    Args:
        request: What was asked for.
        among: What it has of other fits.

    Raises:
        ThermoclineError: See `Predictor.fit`.
    """
    begin = time.monotonic()
    limit, console = TimeLimit(seconds_of(request.time_limit), request.began), Console(request.verbosity)
    found = within_memory(request, memory_of(request.memory), prepared=among.prepared)
    assembly, train, valid = found.assembly, found.train, found.valid
    seconds = {"reading": found.reading, "building": time.monotonic() - begin - found.reading}
    introduce(console, found)
    config = assembly.config
    places = Places.of(request, config)
    if places.store is not None:
        assembly = replace(assembly, facts=facts_of(assembly, train, valid, seed=request.seed))
    resumed, changes = find_checkpoint(request, places, assembly.facts, console)
    given, content = [*make_loggers(config.env.loggers), *request.loggers], resumed.content if resumed else None
    best_states = places.best_states(resumed)
    budget = Budget.of(config.env.cache_memory)
    workers = chosen_number(config.env.num_workers, train, config.env.device)
    keep = Keep(config.env.cache_images, budget, places.cache, shared=workers > 0)
    with ExitStack() as stack:
        stack.callback(places.tidy, best_states)
        loggers = stack.enter_context(opened(given, _run_info(request, assembly, places, resumed), content))
        valid, train = stack.enter_context(decoded_kept([valid, train], keep))
        run = Run(
            assembly=assembly,
            train=train,
            valid=valid,
            valid_found=found.prepared.valid,
            seed=request.seed,
            time_limit=limit,
            reporting=Reporting(loggers, console.progress, console.say, console.detail),
            notes=(*found.prepared.notes, *assembly.built.notes),
            storage=places.storage(best_states, budget, among.kept),
            resume=resumed,
            changes=changes,
            callbacks=request.callbacks,
            states=among.states,
        )
        trainer = Trainer(run)
        _warn_of_memory(trainer)
        history = trainer.fit()
        return replace(_outcome(trainer, history, seconds), identity=places.identity())


def _outcome(trainer: Trainer, history: History, seconds: Mapping[str, float]) -> Fitted:
    """Return what a trainer has made; its run has still to be named.

    Args:
        trainer: Which has fitted.
        history: What it recorded.
        seconds: Stage → seconds of what came before.
    """
    run = trainer.run
    losses = _losses(trainer.settled, run.assembly, run.valid)
    assembly = replace(run.assembly, target=trainer.settled.target)
    baseline = assembly.problem.baseline(assembly, {"train": run.train, "valid": run.valid})
    return Fitted(
        assembly,
        history,
        identity="",
        ended=not trainer.interrupted,
        steps=trainer.total_steps,
        losses=losses,
        reference=Reference(len(run.train), len(run.valid), baseline),
        seconds={**seconds, **trainer.scorer.stages.seconds},
    )


def _run_info(request: Request, assembly: Assembly, places: Places, resumed: Checkpoint | None) -> RunInfo:
    """Return what loggers are told."""
    path, drawn = request.path, request.drawn
    return RunInfo(
        options=dict(assembly.config.items()),
        folder=None if path is None else places.logs,
        name="" if path is None or drawn is not None else path.name,
        trial="" if drawn is None else drawn.name.replace(" ", "-"),
        after=None if resumed is None else resumed.step,
        verbosity=request.verbosity,
    )


def _losses(settled: Settled, assembly: Assembly, valid: Rows) -> np.ndarray | None:
    """Return the losses of the validation rows, where the problem has some."""
    outputs = settled.outputs
    return None if outputs is None else assembly.problem.row_losses(outputs, settled.target, valid)


def _warn_of_memory(trainer: Trainer) -> None:
    """Warn where a run may not fit into the memory of its device."""
    found = memory_warning(trainer.run, trainer.savings, trainer.learning.objective)
    if found:
        warnings.warn(found, ThermoclineWarning, stacklevel=2)
