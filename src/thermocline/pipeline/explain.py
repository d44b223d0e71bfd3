"""The plan of a fit without the fit, with a forecast of what it saves and costs."""

from __future__ import annotations

from dataclasses import replace

from thermocline.contracts.problem import Assembly
from thermocline.contracts.request import Request
from thermocline.efficiency.costs.forecast import Forecast
from thermocline.pipeline.assemble import introduce, planned, rows_of
from thermocline.pipeline.prepare import Prepared
from thermocline.report.console import Console
from thermocline.training.run_savings import forecast_of
from thermocline.tuning.plan.layer_plan import LayerPlan


def explain(request: Request) -> LayerPlan:
    """Return the plan of a request, and print the choices made on the way.

    Raises:
        ThermoclineError: See `Predictor.fit`.
    """
    prepared, assembly = planned(request)
    introduce(Console(request.verbosity), prepared, assembly, plan=False)
    return replace(assembly.plan, estimate=_forecast(prepared, assembly))


def _forecast(prepared: Prepared, assembly: Assembly) -> Forecast:
    train, valid = rows_of(prepared, assembly)
    start = prepared.problem.learning(assembly, train, seed=prepared.request.seed).start
    return forecast_of(assembly, {"train": train, "valid": valid}, start=start)
