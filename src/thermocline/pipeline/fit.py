"""The road of a fit: prepare, assemble, train."""

from __future__ import annotations

import warnings
from contextlib import ExitStack
from dataclasses import replace

from thermocline.contracts.request import Request
from thermocline.data.batches import decoded_kept
from thermocline.data.memory_budget import Budget
from thermocline.data.pixel_cache import Keep
from thermocline.errors import ThermoclineWarning
from thermocline.pipeline.arguments import memory_of, seconds_of
from thermocline.pipeline.assemble import introduce
from thermocline.pipeline.budget import within_memory
from thermocline.pipeline.fitted import Fitted
from thermocline.pipeline.places import Places
from thermocline.pipeline.resume import find_checkpoint
from thermocline.report.console import Console
from thermocline.training.loggers import make_loggers
from thermocline.training.memory_check import memory_warning
from thermocline.training.run import Reporting, Run, Storage
from thermocline.training.run_identity import facts_of
from thermocline.training.time_limit import TimeLimit
from thermocline.training.trainer import Trainer


def fit(request: Request) -> Fitted:
    """Carry a request out.

    Raises:
        ThermoclineError: See `Predictor.fit`.
    """
    limit, console = TimeLimit(seconds_of(request.time_limit), request.began), Console(request.verbosity)
    found = within_memory(request, memory_of(request.memory))
    assembly, train, valid = found.assembly, found.train, found.valid
    introduce(console, found.prepared, assembly)
    config = assembly.config
    places = Places.of(request, config)
    if places.store is not None:
        assembly = replace(assembly, facts=facts_of(assembly, train, valid, seed=request.seed))
    resumed, changes = find_checkpoint(request, places, assembly.facts, console)
    loggers = make_loggers(config.env.loggers, places.logs, after=resumed.step if resumed else None)
    best_states = places.best_states(resumed)
    identity = places.identity()
    budget = Budget.of(config.env.cache_memory)
    keep = Keep(config.env.cache_images, budget, places.cache, shared=config.env.num_workers > 0)
    with ExitStack() as stack:
        stack.callback(places.tidy, best_states)
        for logger in loggers:
            stack.callback(logger.close)
        valid, train = stack.enter_context(decoded_kept([valid, train], keep))
        run = Run(
            assembly=assembly,
            train=train,
            valid=valid,
            valid_found=found.prepared.valid,
            seed=request.seed,
            time_limit=limit,
            reporting=Reporting(loggers, console.progress, console.say),
            notes=(*found.prepared.notes, *assembly.built.notes),
            storage=Storage(
                best_states, places.store, places.prefixes(best_states), shared=places.cache is not None, budget=budget
            ),
            resume=resumed,
            changes=changes,
            callbacks=request.callbacks,
        )
        trainer = Trainer(run)
        _warn_of_memory(trainer)
        history = trainer.fit()
    return Fitted(replace(assembly, target=trainer.target), history, identity, ended=not trainer.interrupted)


def _warn_of_memory(trainer: Trainer) -> None:
    """Warn where a run may not fit into the memory of its device."""
    found = memory_warning(trainer.run, trainer.savings, trainer.learning.objective)
    if found:
        warnings.warn(found, ThermoclineWarning, stacklevel=2)
