"""The end of a fit of rows: what validation decides about the state that is kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from thermocline.contracts.closing import Closing, Settled
from thermocline.contracts.problem import Assembly
from thermocline.data.batches import Rows
from thermocline.problems.rowwise.calibration import CALIBRATED, calibrated
from thermocline.problems.rowwise.collector import collector_of
from thermocline.problems.rowwise.intervals import Residuals
from thermocline.problems.rowwise.probe_refit import refit_probe
from thermocline.problems.rowwise.target import MIDDLE, RowTarget


def settle(assembly: Assembly, closing: Closing) -> Settled:
    """Return the target with temperature and threshold, or errors of a regression, and its scores.

    A probe that is kept is fitted again before.

    Args:
        assembly: The model, in the state that is kept.
        closing: What may be computed with it.
    """
    target: RowTarget = assembly.target
    scores, outputs, rows = closing.scores, closing.valid_outputs, closing.rows["valid"]
    optim, notes = assembly.config.optim, tuple[str, ...]()
    again = refit_probe(assembly, closing)
    if again is not None:
        outputs = again.valid_outputs
        scores, notes = {**scores, **_scores(assembly, target, rows, outputs)}, (again.note,)
    if outputs is not None and target.problem_type in CALIBRATED and optim.calibrate == "auto":
        assert rows.target is not None
        target, said = calibrated(target, outputs, rows.target, rows.weight)
        notes += said
        scores = {**scores, **_scores(assembly, target, rows, outputs)}
    if target.problem_type == "binary":
        usual = MIDDLE if optim.threshold == "auto" else optim.threshold
        target = replace(target, threshold=scores.get("threshold", usual))
    if outputs is not None and target.problem_type == "regression":
        target = replace(target, residuals=_residuals(target, rows, outputs))
    return Settled(target, scores, notes)


def _residuals(target: RowTarget, rows: Rows, outputs: np.ndarray) -> Residuals | None:
    """Return the absolute errors of outputs, of rows whose weight is not 0."""
    assert rows.target is not None
    there = slice(None) if rows.weight is None else rows.weight > 0
    return Residuals.of(target.restore(rows.target[there])[:, 0], target.restore(outputs[there])[:, 0])


def _scores(assembly: Assembly, target: RowTarget, rows: Rows, outputs: np.ndarray) -> Mapping[str, float]:
    """Return the scores of outputs, with the threshold where one is looked for."""
    collector = collector_of(assembly.model, target, rows, assembly.config, scoring=True)
    collector.values, collector.reached = outputs, ~np.isnan(outputs).all(axis=1)
    return collector.scores([target.eval_metric])
