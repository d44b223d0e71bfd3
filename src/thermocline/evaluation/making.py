"""Reports made of a pass over labelled rows; and the rows with the highest loss."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from thermocline.contracts.learning import Collector
from thermocline.contracts.problem import Assembly
from thermocline.contracts.reporting import Results, Told
from thermocline.errors import ConfigError, ThermoclineError, counted, first_line
from thermocline.evaluation import bootstrap
from thermocline.evaluation.content import Score
from thermocline.evaluation.plain_values import shortened
from thermocline.evaluation.report import EvaluationReport
from thermocline.pipeline.arguments import whole_number
from thermocline.pipeline.predict import metrics_for, scored
from thermocline.registry import find_metric
from thermocline.registry.metrics import Metric
from thermocline.report.sections import Section, Table

LOSS = "loss"
WORST = 5
"""Rows with the highest loss that a report shows."""

CUT = 30
"""Letters of a text or path that stands beside such a row."""

_OWN = " (data)"
"""Behind the name of a column of the frame that a column of the result has as well."""


def report(
    assembly: Assembly, data: object, metrics: Any, *, image_folder: object = None, verbosity: int = 0
) -> EvaluationReport:
    """Return a report on labelled data; see `Predictor.report`.

    Raises:
        ConfigError: A metric that does not exist or does not fit; before anything is computed.
        DataError: Data or labels that cannot be scored.
    """
    asked, left_out = metrics_for(assembly, metrics)
    results, collector = scored(assembly, data, image_folder=image_folder, verbosity=verbosity)
    values, faults = _values(collector, asked)
    computed = [one for one in asked if _name(one) not in faults]
    told = assembly.problem.tell(assembly, results, computed)
    notes = list(told.notes)
    if left_out:
        notes.insert(0, f"{left_out}: left out, as no saved predictor holds a function; hand it in as metrics=[…]")
    rows = len(results.found)
    redrawn = assembly.problem.redrawn(assembly, results, computed)
    ends: dict[str, tuple[float, float]] = {}
    if redrawn is not None:
        ends = bootstrap.intervals(redrawn, rows, [one for one in computed if math.isfinite(values[_name(one)])])
        if rows < bootstrap.LEAST_ROWS:
            notes.append(f"no intervals: {counted(rows, told.unit)}, and they need {bootstrap.LEAST_ROWS}")
    target = assembly.target
    return EvaluationReport(
        target.problem_type,
        ", ".join(map(str, target.labels)) or "no label",
        rows,
        told.unit,
        tuple(_score(assembly, name, value, ends, told, faults) for name, value in values.items()),
        (*told.sections, *_worst(assembly, results, told.unit)),
        told.baseline,
        bootstrap.draws_of(rows, redrawn.size) if ends and redrawn is not None else 0,
        tuple(notes),
    )


def top_losses(
    assembly: Assembly, data: object, n: int, *, image_folder: object = None, verbosity: int = 0
) -> pd.DataFrame:
    """Return the rows with the highest loss; see `Predictor.top_losses`.

    Raises:
        ConfigError: `n` is no whole number above 0; or this kind of problem has no loss of a row.
        DataError: As `report`.
    """
    n = whole_number("n", n, 1)
    results, _ = scored(assembly, data, image_folder=image_folder, verbosity=verbosity)
    known = assembly.problem.row_report(assembly, results)
    places = _highest(known, n)
    frame = results.found.frame.iloc[places]
    known, labels = known.iloc[places], [name for name in assembly.target.labels if name in frame.columns]
    others = frame.drop(columns=labels)
    others.columns = pd.Index([_free(name, {*known.columns, *labels}) for name in others.columns])
    return pd.concat([frame[labels], known, others], axis=1)


def _free(name: Any, taken: set[Any]) -> Any:
    return f"{name}{_OWN}" if name in taken else name


def _highest(known: pd.DataFrame, n: int) -> np.ndarray:
    """Return the positions of the rows with the highest loss, the highest first; of equal ones the first."""
    losses = known[LOSS].to_numpy(dtype=np.float64)
    return np.argsort(-np.nan_to_num(losses, nan=-np.inf), kind="stable")[:n]


def _name(metric: str | Metric) -> str:
    return metric if isinstance(metric, str) else metric.name


def _values(collector: Collector, metrics: Sequence[str | Metric]) -> tuple[dict[str, float], dict[str, str]]:
    """Return scores by name, and why some cannot be computed; others are all the same."""
    values: dict[str, float] = {}
    faults: dict[str, str] = {}
    more: dict[str, float] = {}
    for metric in metrics:
        try:
            found = collector.scores([metric])
        except ThermoclineError as error:
            values[_name(metric)], faults[_name(metric)] = math.nan, first_line(error)
            continue
        name = _name(metric)
        if name in found:
            values[name] = found.pop(name)
        more |= found
    return values | {name: value for name, value in more.items() if name not in values}, faults


def _score(
    assembly: Assembly,
    name: str,
    value: float,
    ends: dict[str, tuple[float, float]],
    told: Told,
    faults: dict[str, str],
) -> Score:
    low, high = ends.get(name, (None, None))
    note = faults.get(name, "")
    if math.isnan(value) and not note:
        note = f"not defined on these {told.unit}s"
    baseline = told.baseline_scores.get(name)
    return Score(name, value, low, high, baseline, _direction(assembly, name), note)


def _direction(assembly: Assembly, name: str) -> bool | None:
    """Whether more of a score is better; None where it is no metric, such as the threshold."""
    own: Metric | None = getattr(assembly.target, "metric", None)
    if own is not None and own.name == name:
        return own.greater_is_better
    try:
        return find_metric(assembly.problem.info, name, assembly.target.problem_type).greater_is_better
    except ConfigError:
        return None


def _worst(assembly: Assembly, results: Results, unit: str) -> list[Section]:
    """Return a table of the rows with the highest loss, where this kind has some."""
    try:
        known = assembly.problem.row_report(assembly, results)
    except ConfigError:
        return []
    places = _highest(known, WORST)
    labels = [name for name in assembly.target.labels if name in results.found.frame.columns]
    first = [] if len(labels) != 1 or unit != "row" else labels
    frame = results.found.frame.iloc[places]
    last = [name for name in (*assembly.columns.of("text"), *assembly.columns.of("image")) if _is_text(frame[name])][:1]
    texts = frame[last].apply(lambda cells: cells.map(lambda text: shortened(text, CUT)))
    shown = pd.concat([frame[first], known.iloc[places], texts], axis=1)
    cells = tuple((_index(index), *row) for index, *row in shown.itertuples(name=None))
    header = (unit, *map(str, shown.columns))
    title = f"{unit.capitalize()}s with the highest loss"
    return [Table(title, header, cells, "predictor.top_losses(data) has more of them, with their columns")]


def _is_text(cells: pd.Series[Any]) -> bool:
    """Whether cells can be shown: pictures in memory cannot."""
    return all(isinstance(one, str) for one in cells.astype(object))


def _index(label: Any) -> Any:
    """Return the index of a row as a text: it is a name, not a number."""
    return ", ".join(map(str, label)) if isinstance(label, tuple) else str(label)
