"""Continuing a run: the checkpoint to resume from, or a run that has ended already."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from thermocline.contracts.problem import Assembly, Built
from thermocline.contracts.request import Request
from thermocline.contracts.starting import Started
from thermocline.errors import ConfigError, ThermoclineWarning
from thermocline.pipeline.places import Places, checkpoint_folder
from thermocline.pipeline.planning import plan_for, read_phases, read_plan
from thermocline.pipeline.prepare import Prepared, prepare, problem_of
from thermocline.pipeline.saved_folder import identity_of, was_stopped
from thermocline.report.console import Console
from thermocline.training.checkpoint_store import Checkpoint, CheckpointStore
from thermocline.training.run_identity import HARMLESS, LENGTH, ROUNDING, check, facts_of


def find_checkpoint(
    request: Request, places: Places, facts: Mapping[str, Any], console: Console
) -> tuple[Checkpoint | None, list[str]]:
    """Return the checkpoint to resume from, and a line for each thing that differs from its run and may.

    Raises:
        ConfigError: Resuming without a place for checkpoints.
        ResumeError: The checkpoint is of another run.
    """
    store = places.store
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
        raise ConfigError(f"resume=True continues from checkpoints, which need {missing}.")
    found = store.newest()
    if found is None:
        return None, []
    where = f"The checkpoint of step {found.step} in {str(store.root)!r}"
    advice = "choose another path, or start anew with resume=False, which replaces the checkpoints"
    lines = check(found.content["facts"], facts, where, allowed=(*LENGTH, *HARMLESS), advice=advice)
    console.say(f"resumes at step {found.step}, {str(found.folder)!r}")
    told = [f"resumed at step {found.step} with {line}" for line in lines]
    if any(line.startswith(tuple(f"{name}: " for name in ROUNDING)) for line in lines):
        told.append(f"from step {found.step} on sums are rounded otherwise: the bits are not those of a run in one go")
    return found, told


def can_go_on(path: Path) -> bool:
    """Say whether Ctrl-C stopped the run that is saved at a path, and left checkpoints from which it can go on."""
    store = CheckpointStore(checkpoint_folder(path))
    return was_stopped(path) and store.is_own() and store.identity == identity_of(path) and store.holds_any()


def check_ended(request: Request, ended: Assembly, facts: Mapping[str, Any]) -> None:
    """Check that a run that has ended is the one of a request; no model is built.

    What building a model decides (rows, layers, options left open) is taken from the model that was saved.

    Args:
        request: What is asked for.
        ended: What was saved.
        facts: Of the run that has ended.

    Raises:
        ResumeError: It is another, or was to take longer.
    """
    prepared = prepare(request)
    now = _as_built(prepared, ended)
    problem = prepared.problem
    train = problem.rows(prepared.train, now, labelled=True, training=True, seed=request.seed)
    valid = problem.rows(prepared.valid, now, labelled=True)
    where = f"The run that ended in {str(request.path)!r}"
    advice = "or choose another path for a new run"
    for line in check(facts, facts_of(now, train, valid, seed=request.seed), where, allowed=HARMLESS, advice=advice):
        Console(request.verbosity).say(f"this run has ended before; without effect on it: {line}")


def trusts_remote_code(request: Request) -> bool:
    """Return whether the options of a request let code of a text backbone run."""
    config = request.settled(problem_of(request).info)
    return any(value is True for key, value in config.items() if key.endswith(".trust_remote_code"))


def _as_built(prepared: Prepared, ended: Assembly) -> Assembly:
    """Return what a fit of prepared data would assemble, were its model built as the one that was saved."""
    config = prepared.config
    for key, value in ended.config.items():
        origin = ended.config.provenance[key]
        still_open = not config.provenance[key].startswith("chosen") and config[key] != value
        if origin.startswith("chosen") and still_open and _was_open(config[key], origin):
            config = config.choose(key, value, origin.removeprefix("chosen: "))
    earlier = prepared.request.earlier
    started = None if earlier is None else Started(earlier.where, earlier.fingerprint)
    built = Built(ended.model, ended.built.inputs, ended.layer_map, config, started=started)
    given, phases = read_plan(prepared.request.plan), read_phases(config)
    plan, config = plan_for(prepared.problem, built, given, phases, len(prepared.train))
    built = replace(built, config=config)
    return Assembly(prepared.problem, prepared.target, prepared.columns, built, plan, weight=prepared.request.weight)


def _was_open(value: object, origin: str) -> bool:
    """Whether a fit chooses this option by itself: nothing is set, or what was set was overruled."""
    return value is None or value == "auto" or f"({value} was asked for)" in origin
