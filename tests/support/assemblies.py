"""Models of a request, assembled and not trained."""

from __future__ import annotations

from typing import Any

import pandas as pd

from thermocline.contracts.labelled import Labelled
from thermocline.contracts.problem import Assembly
from thermocline.contracts.request import Request
from thermocline.data.batches import Rows
from thermocline.pipeline import assemble
from thermocline.pipeline.planning import read_plan
from thermocline.pipeline.prepare import Prepared, prepare
from thermocline.training.run import Run, Storage


def assembled(frame: pd.DataFrame, options: Any = None, *, label: Any = "y", **more: Any) -> Assembly:
    """The model that a fit of a frame would train."""
    return prepared_and_assembled(frame, options, label=label, **more)[1]


def prepared_and_assembled(
    frame: pd.DataFrame, options: Any = None, *, label: Any = "y", **more: Any
) -> tuple[Prepared, Assembly]:
    """The prepared data of a request, all rows in training, and its model."""
    more = {"tuning_data": frame, **more}
    request = Request(frame, label, hyperparameters=options, verbosity=0, **more)
    prepared = prepare(request)
    return prepared, assemble.assembled(prepared, read_plan(request.plan))


def rows_at_prediction(assembly: Assembly, frame: pd.DataFrame) -> Rows:
    """A frame's rows without labels."""
    return assembly.problem.rows(Labelled(frame), assembly, labelled=False)


def run_of(prepared: Prepared, assembly: Assembly, folder: Any, **more: Any) -> Run:
    """The training run of an assembly."""
    train, valid = assemble.rows_of(prepared, assembly)
    return Run(assembly, train, valid, prepared.valid, Storage(folder), seed=prepared.request.seed, **more)
