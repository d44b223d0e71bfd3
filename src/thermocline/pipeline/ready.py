"""Data and model of a fit, before anything is trained."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from thermocline.contracts.learning import Learning
from thermocline.contracts.problem import Assembly
from thermocline.contracts.request import Request
from thermocline.data.batches import Rows
from thermocline.pipeline.assemble import assembled, rows_of
from thermocline.pipeline.planning import GivenPlan, plan_for, read_phases, read_plan
from thermocline.pipeline.prepare import Prepared, prepare
from thermocline.training.memory_search import Change


@dataclass(frozen=True)
class Ready:
    """Data and model of a fit.

    Attributes:
        prepared: Checked and split data.
        given: The plan of the request, or its phases.
        assembly: The model, its plan and its configuration.
        train: Training rows.
        valid: Validation rows.
        learning: How the model is trained.
        measured: The options that were chosen for a budget.
        change: The change under which it fits the memory.
        others: Other changes that would fit the memory.
        reading: Seconds that reading and splitting took.
    """

    prepared: Prepared
    given: GivenPlan
    assembly: Assembly
    train: Rows
    valid: Rows
    learning: Learning
    measured: frozenset[str] = field(default_factory=frozenset)
    change: Change | None = None
    others: tuple[Change, ...] = ()
    reading: float = 0.0

    @property
    def rows(self) -> dict[str, Rows]:
        """The rows by split: `train` and `valid`."""
        return {"train": self.train, "valid": self.valid}


def ready(request: Request, prepared: Prepared | None = None) -> Ready:
    """Return data and model of a request.

    Args:
        request: What was asked for.
        prepared: Its data, where another request that differs only in what the program has settled was prepared.

    Raises:
        ThermoclineError: See `Predictor.fit`.
    """
    given = read_plan(request.plan)
    begin = time.monotonic()
    prepared = prepare(request) if prepared is None else prepared.for_request(request)
    reading = time.monotonic() - begin
    assembly = assembled(prepared, given)
    train, valid = rows_of(prepared, assembly)
    learning = prepared.problem.learning(assembly, train, seed=request.seed)
    return Ready(prepared, given, assembly, train, valid, learning, frozenset(request.chosen), reading=reading)


def with_options(found: Ready, options: Mapping[str, Any], why: str) -> Ready:
    """Return a fit whose model stays, with other options, chosen for a budget.

    Args:
        found: The fit.
        options: Option → value; such as the model is not built by.
        why: The reason.
    """
    config, prepared = found.assembly.config, found.prepared
    for key, value in options.items():
        config = config.choose(key, value, why)
    built = replace(found.assembly.built, config=config)
    plan, config = plan_for(prepared.problem, built, found.given, read_phases(config), len(found.train))
    assembly = replace(found.assembly, built=replace(built, config=config), plan=plan)
    learning = prepared.problem.learning(assembly, found.train, seed=prepared.request.seed)
    return replace(found, assembly=assembly, learning=learning, measured=found.measured | options.keys())
