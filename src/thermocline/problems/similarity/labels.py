"""Labels of pairs: grades, two classes, or none at all; found in training data, encoded for the loss."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from thermocline.config import ResolvedConfig
from thermocline.contracts.request import Request
from thermocline.data.cells import as_classes
from thermocline.data.row_names import first_rows, plain
from thermocline.errors import ConfigError, LabelError, counted, listing
from thermocline.problems.rowwise.label_values import check_given, is_numeric, quantities
from thermocline.problems.rowwise.positive import find_positive
from thermocline.problems.similarity.info import BINARY, DEFAULT_METRIC, GRADED, INFO, METRICS_OF, POSITIVES, TYPE
from thermocline.problems.similarity.losses import loss_for
from thermocline.problems.similarity.target import PairTarget
from thermocline.registry import find_metric, metric_names
from thermocline.registry.metrics import spelled

WORDS = {GRADED: "grades", BINARY: "pairs that match and others", POSITIVES: "pairs that all match"}


def target_of(
    frame: pd.DataFrame, request: Request, config: ResolvedConfig, roles: dict[str, str], *, mixed: bool
) -> PairTarget:
    """Return what the labels of training pairs ask for.

    Args:
        frame: The pairs.
        request: Label, metric and positive class.
        config: `optim.loss` and `optim.threshold`.
        roles: Side → column.
        mixed: Whether texts are compared with images.

    Raises:
        LabelError: Labels that cannot be trained on.
        ConfigError: A metric, loss, positive class or threshold that does not fit them.
    """
    label = request.label
    if label is not None and not isinstance(label, str):
        raise ConfigError(f"label names {len(label)} columns, and a pair has one label, or none: label=None.")
    read = _positives() if label is None else _read(frame[label], request.positive_class)
    target = replace(read, label=label, roles=roles, eval_metric=DEFAULT_METRIC[read.form])
    if request.positive_class is not None and target.form != BINARY:
        raise ConfigError(
            f"positive_class={request.positive_class!r} is for two classes, and these are {WORDS[target.form]}. Leave "
            "it out."
        )
    if config.optim.threshold != "auto" and target.form != BINARY:
        raise ConfigError(
            f"optim.threshold={config.optim.threshold} is for two classes, and these are {WORDS[target.form]}. Leave "
            "it out."
        )
    loss = loss_for(target.form, config.optim.loss, mixed=mixed, label=label)
    target = replace(target, loss=str(loss))
    if request.eval_metric is None:
        return target
    return replace(target, eval_metric=metric_for(request.eval_metric, target))


def metric_for(asked: Any, target: PairTarget) -> str:
    """Return the canonical name of a metric that fits what the label says.

    Raises:
        ConfigError: There is no such metric, or it does not fit.
    """
    name = find_metric(INFO, asked, TYPE).name
    stem, colon, _ = name.partition(":")
    known = METRICS_OF[target.form]
    if name in known or (colon and {stem, f"{stem}:"} & set(known)):
        return name
    usual = [one for one in metric_names(INFO) if one in known or f"{one}:" in known]
    hint = " Say of how many responses, such as recall@10." if spelled(name) in ("recall", "hit_rate") else ""
    raise ConfigError(
        f"The metric {asked!r} is not for {WORDS[target.form]}.{hint} Choose from {listing(usual, limit=12)}; with "
        "@10 behind those of search, of the first ten responses."
    )


def _positives() -> PairTarget:
    return PairTarget(None, {}, POSITIVES, "", "", reason="no label: all pairs match")


def _read(series: pd.Series[Any], positive_class: Any) -> PairTarget:
    """Return form, classes and range of a label."""
    check_given(series)
    values = pd.Series([plain(value) for value in series.astype(object)], index=series.index, dtype=object)
    distinct = list(dict.fromkeys(values))
    if len(distinct) == 1:
        raise LabelError(
            f"Label {series.name!r} holds one value only, {distinct[0]!r}: there is nothing to learn from it. If all "
            "pairs match, leave the label out: Predictor(label=None, problem_type='similarity')."
        )
    numeric = is_numeric(series) and not pd.api.types.is_bool_dtype(series.dtype)
    if len(distinct) == 2:
        return _classes(series, values, positive_class)
    if numeric or _all_numbers(values):
        grades = quantities(series)
        low, high = float(grades.min()), float(grades.max())
        reason = f"numbers from {low:g} to {high:g}: how much a pair matches"
        return PairTarget(None, {}, GRADED, "", "", low=low, high=high, slope=high - low, offset=low, reason=reason)
    raise LabelError(
        f"Label {series.name!r} holds {counted(len(distinct), 'class', 'classes')}: {listing(distinct, limit=6)}. A "
        "pair matches or does not, so there are two classes, or a number that says how much. Make it one: "
        f"frame.assign({series.name}=frame[{series.name!r}] == {distinct[0]!r})."
    )


def _all_numbers(values: pd.Series[Any]) -> bool:
    return bool(pd.to_numeric(values, errors="coerce").notna().all())


def _classes(series: pd.Series[Any], values: pd.Series[Any], positive_class: Any) -> PairTarget:
    try:
        classes = sorted(values.unique())
    except TypeError:
        classes = sorted(values.unique(), key=str)
    counts = values.value_counts().to_dict()
    positive, why = find_positive(classes, counts, positive_class, label=series.name)
    share = counts[positive] / len(values)
    reason = f"two classes: {positive!r} ({why}) are pairs that match, {share:.0%} of them".replace("%", " %")
    dtype = str(series.dtype) if is_numeric(series) or pd.api.types.is_bool_dtype(series.dtype) else "object"
    more: dict[str, Any] = {"positive": positive, "slope": 10.0, "offset": -5.0, "dtype": dtype, "reason": reason}
    return PairTarget(None, {}, BINARY, "", "", classes=tuple(classes), **more)


def values_of(frame: pd.DataFrame, target: PairTarget, *, what: str = "data") -> np.ndarray:
    """Return how much each pair matches, float64 `(rows,)`: 0 for the lowest grade of training and 1 for the highest.

    Raises:
        LabelError: Labels that are missing, no numbers, or none of the classes.
    """
    if target.form == POSITIVES:
        return np.ones(len(frame))
    assert target.label is not None
    series = frame[target.label]
    check_given(series)
    if target.form == GRADED:
        return np.asarray((quantities(series) - target.low) / (target.high - target.low))
    found = as_classes(series.astype(object), target.classes)
    odd = ~found.isin(list(target.classes)).to_numpy(dtype=bool)
    if odd.any():
        raise LabelError(
            f"Label {series.name!r} of {what} holds values that are none of the classes {listing(target.classes)}: "
            f"{first_rows(series.index, odd, series)}. Correct them, or leave these rows out."
        )
    return np.asarray(found == target.positive, dtype=np.float64)
