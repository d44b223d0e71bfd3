"""The plan of a fit without the fit, with a forecast of what it saves and costs."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from thermocline.contracts.problem import Assembly
from thermocline.contracts.request import Request
from thermocline.efficiency.costs.forecast import Forecast
from thermocline.pipeline.assemble import introduce, planned, rows_of
from thermocline.pipeline.prepare import Prepared
from thermocline.report.console import Console
from thermocline.training.run import Run, Storage
from thermocline.training.run_savings import forecast_of
from thermocline.training.timing import time_steps
from thermocline.tuning.plan.layer_plan import LayerPlan


def explain(request: Request, *, timed: bool = False) -> LayerPlan:
    """Return the plan of a request, and print the choices made on the way.

    Args:
        request: What was asked for.
        timed: Whether to take a few training steps, which are undone, to tell how long the run takes.

    Raises:
        ThermoclineError: See `Predictor.fit`.
    """
    prepared, assembly = planned(request)
    introduce(Console(request.verbosity), prepared, assembly, plan=False)
    return replace(assembly.plan, estimate=_forecast(prepared, assembly, timed=timed))


def _forecast(prepared: Prepared, assembly: Assembly, *, timed: bool) -> Forecast:
    train, valid = rows_of(prepared, assembly)
    learning = prepared.problem.learning(assembly, train, seed=prepared.request.seed)
    times = None
    if timed:
        with tempfile.TemporaryDirectory(prefix="thermocline-") as folder:
            storage = Storage(Path(folder))
            times = time_steps(Run(assembly, train, valid, prepared.valid, storage, seed=prepared.request.seed))
    return forecast_of(assembly, {"train": train, "valid": valid}, learning, times)
