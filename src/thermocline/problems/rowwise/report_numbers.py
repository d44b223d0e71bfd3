"""Tables and pictures of predicted numbers: errors, residuals, and what intervals hold."""

from __future__ import annotations

import numpy as np
import pandas as pd

from thermocline.errors import ConfigError
from thermocline.problems.rowwise.interval_frame import half_width, interval
from thermocline.problems.rowwise.redrawn import Scored
from thermocline.report.sections import Points, Section, Table

SHARES = (0.5, 0.75, 0.9, 0.95, 0.99)
COVERAGES = (0.5, 0.8, 0.9, 0.95)
MOST_POINTS = 2_000
"""Points of a picture; of more rows as many are taken evenly."""


def number_sections(rows: Scored) -> tuple[Section, ...]:
    """Return quantiles of errors, residuals and the coverage of intervals."""
    truth, given = rows.truth[:, 0], rows.chosen[:, 0]
    residual = truth - given
    return (_errors(truth, residual), *_coverage(rows), *_points(truth, given, residual))


def _errors(truth: np.ndarray, residual: np.ndarray) -> Table:
    size = np.abs(residual)
    spread = float(truth.std())
    quantiles = np.quantile(size, SHARES).tolist()
    lines = [(f"at most, in {100 * share:g} % of rows", at) for share, at in zip(SHARES, quantiles, strict=True)]
    lines += [("largest", float(size.max())), ("mean residual", float(residual.mean()))]
    relative = [(name, value, value / spread if spread > 0 else float("nan")) for name, value in lines]
    note = "residual: label less prediction; std: in standard deviations of the label in these rows"
    return Table("Errors", ("absolute error", "label's units", "std"), tuple(relative), note)


def _coverage(rows: Scored) -> tuple[Section, ...]:
    """How many rows lie inside of the intervals of `predict_interval`."""
    truth, index = rows.truth[:, 0], pd.RangeIndex(len(rows.encoded))
    lines = []
    for share in COVERAGES:
        try:
            half_width(rows.target, share)
        except ConfigError:  # too few validation rows
            continue
        found = interval(rows.outputs, rows.target, share, index)
        low, high = (found[name].to_numpy(dtype=np.float64) for name in ("lower", "upper"))
        inside = float(((low <= truth) & (truth <= high)).mean())
        lines.append((f"{100 * share:g} %", f"{100 * inside:.1f} %", float((high - low).mean())))
    if not lines:
        return ()
    header = ("asked for", "of these rows", "mean width")
    return (Table("Coverage of predict_interval", header, tuple(lines)),)


def _points(truth: np.ndarray, given: np.ndarray, residual: np.ndarray) -> tuple[Section, ...]:
    places = np.unique(np.linspace(0, len(truth) - 1, min(len(truth), MOST_POINTS)).round().astype(np.int64))
    x = tuple(given[places].tolist())
    made = Points("Residuals", ("prediction", "label less prediction"), x, tuple(residual[places].tolist()))
    return (made,)
