"""Tables and pictures of several labels a row."""

from __future__ import annotations

import numpy as np

from thermocline.problems.rowwise.redrawn import Scored
from thermocline.problems.rowwise.report_classes import ratios, reliability
from thermocline.report.sections import Bars, Section, Table


def label_sections(rows: Scored) -> tuple[Section, ...]:
    """Return a table and bars of the labels, how many are wrong in a row, and calibration over rows and labels."""
    return (*_each(rows), _mistakes(rows), _calibration(rows))


def _weight(rows: Scored) -> np.ndarray:
    return np.ones(len(rows.encoded)) if rows.weight is None else rows.weight.astype(np.float64)


def _each(rows: Scored) -> tuple[Section, ...]:
    weight = _weight(rows)
    true, said = rows.sides()
    right, every, there = (weight @ one for one in (true & said, said, true))
    precision, recall, f1 = ratios(right, every, there)
    names, numbers = [str(one) for one in rows.target.classes], true.sum(axis=0)
    order, note = np.arange(len(names)), ""
    if len(names) > Table.most:
        order, note = np.argsort(np.where(numbers > 0, np.nan_to_num(f1), 2.0), kind="stable"), "the lowest f1 first"
    lines = [(names[k], float(precision[k]), float(recall[k]), float(f1[k]), int(numbers[k])) for k in order]
    table = Table("Labels", ("label", "precision", "recall", "f1", "rows"), tuple(lines), note)
    return table, Bars("f1 of each label", "f1", {names[k]: float(f1[k]) for k in order})


def _mistakes(rows: Scored) -> Table:
    """How many labels are wrong in a row."""
    wrong = (rows.truth != rows.chosen).sum(axis=1)
    numbers = np.bincount(wrong)
    lines = [(int(k), int(n), f"{100 * n / len(wrong):.0f} %") for k, n in enumerate(numbers) if n]
    return Table("Wrong labels in a row", ("wrong labels", "rows", "share"), tuple(lines))


def _calibration(rows: Scored) -> Section:
    weight = np.repeat(_weight(rows), rows.target.width)
    return reliability(rows.chances.ravel(), rows.truth.ravel() > 0.5, weight, "a label", "Calibration")
