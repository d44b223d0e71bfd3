"""What a report shows of classes, labels and numbers, and what is known of each row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from thermocline.contracts.reporting import Results, Told
from thermocline.errors import ConfigError
from thermocline.problems.rowwise.constant import class_shares, share_outputs, uncalibrated
from thermocline.problems.rowwise.metrics import score
from thermocline.problems.rowwise.redrawn import Scored, log_losses
from thermocline.problems.rowwise.report_classes import class_sections
from thermocline.problems.rowwise.report_labels import label_sections
from thermocline.problems.rowwise.report_numbers import number_sections
from thermocline.problems.rowwise.target import MIDDLE, RowTarget
from thermocline.registry.metrics import Metric
from thermocline.report.sections import Section

SURE = 1e-12
"""The least share of a class or label in the baseline's probabilities."""


def scored_rows(target: RowTarget, results: Results) -> Scored:
    """Return labels, outputs and weights of a pass.

    Raises:
        NonFiniteError: An output is not finite.
    """
    rows = results.rows
    assert rows.target is not None
    target.check_outputs(results.outputs, results.found.frame.index)
    if target.problem_type == "binary" and target.threshold is None:
        target = replace(target, threshold=MIDDLE)
    return Scored(target, rows.target, results.outputs, rows.weight)


def told(target: RowTarget, results: Results, metrics: Sequence[str | Metric]) -> Told:
    """Return sections and baseline of a report."""
    rows = scored_rows(target, results)
    sections: tuple[Section, ...]
    if target.problem_type == "regression":
        sections = number_sections(rows)
    elif target.problem_type == "multilabel":
        sections = label_sections(rows)
    else:
        sections = class_sections(rows)
    words, scores = baseline(rows, metrics)
    notes = [] if rows.weight is None else ["rows are weighted; counts of rows are not"]
    if target.problem_type in ("binary", "multiclass") and len(missing := _missing(rows)):
        shown = ", ".join(map(str, missing[:5])) + (" …" if len(missing) > 5 else "")
        notes.append(f"no row of {len(missing)} of {len(target.classes)} classes: {shown}")
    return Told(sections, "row", words, scores, tuple(notes))


def _missing(rows: Scored) -> list[Any]:
    there = set(np.unique(rows.encoded).tolist())
    return [name for code, name in enumerate(rows.target.classes) if code not in there]


def row_report(target: RowTarget, results: Results) -> pd.DataFrame:
    """Return prediction and loss of each row, on the frame's index.

    Returns:
        `prediction`; for classes `probability` of the label, for several labels `wrong` (how many), for numbers
        `residual` (label less prediction); and `loss`: the log-loss, or the absolute error in the label's units.
    """
    rows, index = scored_rows(target, results), results.found.frame.index
    predicted = target.decode(results.outputs, index)
    if target.problem_type == "regression":
        residual = rows.truth[:, 0] - rows.chosen[:, 0]
        columns: dict[str, Any] = {"prediction": predicted, "residual": residual, "loss": np.abs(residual)}
    elif target.problem_type == "multilabel":
        shown = predicted if isinstance(predicted, pd.Series) else _names(target, rows.chosen, index)
        wrong = (rows.truth != rows.chosen).sum(axis=1).astype(np.int64)
        columns = {"prediction": shown, "wrong": wrong, "loss": log_losses(rows)}
    else:
        chance = rows.chances[np.arange(len(rows.truth)), rows.truth]
        columns = {"prediction": predicted, "probability": chance, "loss": log_losses(rows)}
    arrays = {name: one.array if isinstance(one, pd.Series) else one for name, one in columns.items()}
    return pd.DataFrame(arrays, index=index)


def _names(target: RowTarget, chosen: np.ndarray, index: pd.Index[Any]) -> pd.Series[Any]:
    lists = [[target.classes[k] for k in np.flatnonzero(row)] for row in chosen]
    return pd.Series(lists, index=index, dtype=object)


# -- the baseline


def baseline(rows: Scored, metrics: Sequence[str | Metric]) -> tuple[str, dict[str, float]]:
    """Return what the best constant answer on the same rows is, and what it scores.

    For classes it is the most frequent one, with the classes' shares as probabilities; for numbers the mean, and the
    quantiles where several are learnt. It knows the labels of these rows, so that it is no weaker than one that was
    chosen on training rows.
    """
    words, target, encoded, outputs = _constant(rows)
    repeated = np.repeat(outputs[None], len(encoded), axis=0)
    found: dict[str, float] = {}
    for one in metrics:
        try:
            found |= score(target, one, encoded, repeated, rows.weight)
        except ConfigError:  # a metric of the caller's own that takes no constant
            continue
    return words, found


def _constant(rows: Scored) -> tuple[str, RowTarget, np.ndarray, np.ndarray]:
    """Return the answer in words, a target without scale and threshold, labels encoded for it, and its outputs."""
    target, weight = rows.target, rows.weight
    weight = np.ones(len(rows.encoded)) if weight is None else weight.astype(np.float64)
    if target.problem_type == "regression":
        truth = rows.truth[:, 0]
        plain = replace(target, transform=None, mean=0.0, std=1.0, offsets=())
        mean = float(np.average(truth, weights=weight))
        levels = target.levels
        outputs = np.quantile(truth, levels) if levels else np.array([mean])
        words = f"always {mean:.4g}, the mean of these rows" if not levels else "always the quantiles of these rows"
        return words, plain, truth[:, None], outputs
    shares = class_shares(target, rows.encoded, weight)
    if target.problem_type == "multilabel":
        words = "each label as more than half of these rows have it, with its share as probability"
    else:
        most = target.classes[int(shares.argmax())]
        words = f"always {most!r}, the most frequent class of these rows, with the classes' shares as probabilities"
    return words, uncalibrated(target), rows.encoded, share_outputs(target, shares, SURE)
