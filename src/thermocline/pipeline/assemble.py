"""From prepared data to a model with its plan: everything before training."""

from __future__ import annotations

from dataclasses import replace

from thermocline.contracts.problem import Assembly
from thermocline.data.batches import Rows
from thermocline.pipeline.planning import GivenPlan, check_layer_options, plan_for, read_phases
from thermocline.pipeline.prepare import Prepared
from thermocline.training.batch_norm import micro_batch_note
from thermocline.training.optimizing import optimizer_notes
from thermocline.tuning.random_numbers import RandomNumbers


def assembled(prepared: Prepared, given: GivenPlan = None) -> Assembly:
    """Build the model of prepared data, with its plan.

    Args:
        prepared: The data.
        given: A plan that goes before the options (`read_plan`).

    Raises:
        ThermoclineError: See `Predictor.fit`.
    """
    request = prepared.request
    check_layer_options(prepared.config)
    phases = read_phases(prepared.config)  # faults in them show before anything is loaded
    given_data = prepared.train, prepared.columns, prepared.target, prepared.config
    with RandomNumbers(request.seed):
        if request.earlier is None:
            built = prepared.problem.build(*given_data, seed=request.seed)
        else:
            built = prepared.problem.build_from(request.earlier, *given_data, seed=request.seed)
    plan, config = plan_for(prepared.problem, built, given, phases, len(prepared.train))
    built = replace(built, config=config)
    assembly = Assembly(prepared.problem, prepared.target, prepared.columns, built, plan, weight=request.weight)
    notes = (*built.notes, *micro_batch_note(assembly), *optimizer_notes(assembly))
    return replace(assembly, built=replace(built, notes=notes))


def rows_of(prepared: Prepared, assembly: Assembly) -> tuple[Rows, Rows]:
    """Turn training and validation data into the rows that the model is given."""
    problem, seed = prepared.problem, prepared.request.seed
    train = problem.rows(prepared.train, assembly, labelled=True, training=True, seed=seed)
    return train, problem.rows(prepared.valid, assembly, labelled=True)
