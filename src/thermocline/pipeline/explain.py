"""The plan of a fit without the fit, with a forecast of what it saves and costs."""

from __future__ import annotations

import tempfile
import warnings
from dataclasses import replace
from pathlib import Path

from thermocline.contracts.request import Request
from thermocline.efficiency.costs.forecast import Forecast
from thermocline.efficiency.costs.seconds import StepTimes
from thermocline.errors import ThermoclineWarning
from thermocline.pipeline.introduction import introduce
from thermocline.pipeline.ready import Ready, ready
from thermocline.report.console import Console
from thermocline.training.out_of_memory import is_out_of_memory
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
    found = ready(request)
    introduce(Console(request.verbosity), found, plan=False)
    return replace(found.assembly.plan, estimate=forecast_ready(found, times_of(found) if timed else None))


def forecast_ready(found: Ready, times: StepTimes | None = None) -> Forecast:
    """Return what a fit saves and costs.

    Args:
        found: Data and model.
        times: What its steps take, where they were timed.
    """
    return forecast_of(found.assembly, found.rows, found.learning, times)


def times_of(found: Ready) -> StepTimes | None:
    """Return what steps of a fit take; the steps are undone. Without memory for them warn, and return None."""
    prepared, seed = found.prepared, found.prepared.request.seed
    with tempfile.TemporaryDirectory(prefix="thermocline-") as folder:
        run = Run(found.assembly, found.train, found.valid, prepared.valid, Storage(Path(folder)), seed=seed)
        try:
            return time_steps(run)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
    warnings.warn(
        "Steps were not timed, because one did not fit into memory. A fit would try smaller micro-batches; give "
        "memory= to have options chosen that fit.",
        ThermoclineWarning,
        stacklevel=4,
    )
    return None
