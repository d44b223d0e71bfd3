"""The end of a fit of rows: what validation decides about the state that is kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from thermocline.contracts.closing import Closing, Settled
from thermocline.contracts.problem import Assembly
from thermocline.data.batches import Rows
from thermocline.problems.rowwise.all_rows import trained_on_all
from thermocline.problems.rowwise.calibration import CALIBRATED, calibrated
from thermocline.problems.rowwise.collector import collector_of
from thermocline.problems.rowwise.info import INFO
from thermocline.problems.rowwise.intervals import Residuals
from thermocline.problems.rowwise.probe_refit import refit_probe
from thermocline.problems.rowwise.quantiles import offsets
from thermocline.problems.rowwise.quantiles import scores as interval_scores
from thermocline.problems.rowwise.target import MIDDLE, RowTarget
from thermocline.problems.rowwise.tfidf import fit_tfidf
from thermocline.problems.rowwise.transforms import MEANS
from thermocline.problems.rowwise.trees import fit_and_blend
from thermocline.registry import find_metric
from thermocline.registry.metrics import short


def settle(assembly: Assembly, closing: Closing) -> Settled:
    """Fit what is fitted beside the network, and return the target with what validation decides, and the scores.

    In this order: a kept probe is fitted again; trees are fitted and blended, then a linear model of words;
    probabilities get a temperature, then two classes a threshold; the errors of a regression are kept; a tuned model of
    few rows is trained on with all rows. The outputs on validation rows are those from before that.

    Args:
        assembly: The model, in the state that is kept.
        closing: What may be computed with it.
    """
    assembly.model.trees = assembly.model.tfidf = None  # of a first attempt, which Ctrl-C ended
    notes: tuple[str, ...] = ()
    again = refit_probe(assembly, closing)
    if again is not None:
        closing, notes = _with_outputs(assembly, closing, again.valid_outputs), (again.note,)
    kept = ""
    for name, fit in (("trees", fit_and_blend), ("a TF-IDF model", fit_tfidf)):
        blended = fit(assembly, closing)
        notes += blended.notes
        if blended.share and blended.outputs is not None:
            closing = _with_outputs(assembly, closing, blended.outputs)
            kept += f", with {name} ({blended.share:.2f})"
    regression = assembly.target.problem_type == "regression"
    settled = _regression(assembly, closing) if regression else _classes(assembly, closing)
    settled = trained_on_all(assembly, closing, settled)
    return replace(settled, notes=(*notes, *settled.notes), kept=kept, outputs=closing.valid_outputs)


def _with_outputs(assembly: Assembly, closing: Closing, outputs: np.ndarray) -> Closing:
    scores = {**closing.scores, **_scores(assembly, assembly.target, closing.rows["valid"], outputs)}
    return replace(closing, valid_outputs=outputs, scores=scores)


def _classes(assembly: Assembly, closing: Closing) -> Settled:
    """Return the target with temperature and threshold."""
    target, scores, outputs, rows = assembly.target, closing.scores, closing.valid_outputs, closing.rows["valid"]
    optim, notes = assembly.config.optim, tuple[str, ...]()
    if outputs is not None and target.problem_type in CALIBRATED and optim.calibrate == "auto":
        assert rows.target is not None
        target, notes = calibrated(target, outputs, rows.target, rows.fit_weight)
        scores = {**scores, **_scores(assembly, target, rows, outputs)}
    if target.problem_type == "binary":
        usual = MIDDLE if optim.threshold == "auto" else optim.threshold
        target = replace(target, threshold=scores.get("threshold", usual))
    return Settled(target, scores, notes)


def _regression(assembly: Assembly, closing: Closing) -> Settled:
    """Return the target with what the errors on validation rows say; rows whose weight is 0 do not count."""
    target, outputs, rows = assembly.target, closing.valid_outputs, closing.rows["valid"]
    settled = Settled(target, closing.scores)
    if outputs is None:
        return settled
    assert rows.target is not None
    there = np.isfinite(outputs).all(axis=1) & (True if rows.weight is None else rows.weight > 0)
    truth, given = rows.target[there], outputs[there]
    if target.levels and len(truth):
        return _quantiles(assembly, settled, rows, outputs, there)
    gives_mean = target.loss is None
    if target.transform is not None and gives_mean and target.eval_metric in MEANS and len(truth):
        mean = replace(target, transform=target.transform.with_errors((truth - given)[:, 0]))
        scores = _scores(assembly, mean, rows, outputs)
        metric = target.eval_metric
        better = scores[metric] - closing.scores[metric]
        if (better if find_metric(INFO, metric, target.problem_type).greater_is_better else -better) > 0:
            said = f"{metric} {closing.scores[metric]:.4g} → {scores[metric]:.4g}"
            notes = (f"predictions are means over the errors of validation: {said}",)
            settled = Settled(mean, {**closing.scores, **scores}, notes)
    target = settled.target
    residuals = Residuals.of(target.restore(truth)[:, 0], target.predicted(given)[:, 0])
    return replace(settled, target=replace(target, residuals=residuals))


def _quantiles(assembly: Assembly, settled: Settled, rows: Rows, outputs: np.ndarray, there: np.ndarray) -> Settled:
    """Return the target whose quantiles are where the validation rows have them, and how far these are outside."""
    target, scores, notes = settled.target, settled.scores, tuple[str, ...]()
    assert rows.target is not None
    truth, weight = rows.target[there], None if rows.weight is None else rows.weight[there]
    moved = offsets(target.levels, outputs[there], truth, weight)
    if any(moved):
        target, metric = replace(target, offsets=moved), target.eval_metric
        scores = {**scores, **_scores(assembly, target, rows, outputs)}
        shares = ", ".join(short(level) for level, by in zip(target.levels, moved, strict=True) if by)
        notes = (
            f"quantiles {shares} are moved to the validation rows': {metric} "
            f"{settled.scores.get(metric, float('nan')):.4g} → {scores[metric]:.4g}",
        )
    labels, found = target.restore(truth)[:, 0], target.quantiles(outputs[there])
    residuals = Residuals.of(labels, target.predicted(outputs[there])[:, 0])
    target = replace(target, residuals=residuals, intervals=interval_scores(labels, found))
    return replace(settled, target=target, scores=scores, notes=notes)


def _scores(assembly: Assembly, target: RowTarget, rows: Rows, outputs: np.ndarray) -> Mapping[str, float]:
    """Return the scores of outputs, with the threshold where one is looked for."""
    collector = collector_of(assembly.model, target, rows, assembly.config, scoring=True)
    collector.values, collector.reached = outputs, ~np.isnan(outputs).all(axis=1)
    return collector.scores([target.eval_metric])
