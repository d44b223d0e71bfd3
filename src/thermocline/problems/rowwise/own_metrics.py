"""A metric of the caller's own, called with labels as they are in the data."""

from __future__ import annotations

import inspect
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from thermocline.errors import ConfigError, first_line
from thermocline.registry.metrics import Metric

if TYPE_CHECKING:
    from thermocline.problems.rowwise.target import RowTarget

TRIED_ROWS = 200
SURE = 4.0
"""The lead of the right class in outputs that a metric is tried with."""


def own_score(
    target: RowTarget, metric: Metric, encoded: np.ndarray, outputs: np.ndarray, weight: np.ndarray | None
) -> float:
    """Return what a metric says of outputs; see `thermocline.Metric` for what its function is given.

    Args:
        target: What encoded the labels.
        metric: The metric.
        encoded: Encoded labels.
        outputs: Raw outputs `(rows, width)`.
        weight: Row weights, or None.

    Raises:
        ConfigError: It has no function, raises, or returns no number.
    """
    if metric.function is None:
        raise ConfigError(
            f"The metric {metric.name!r} is a function that no saved predictor holds. Hand it in: Predictor(label, "
            "eval_metric=function) or evaluate(data, metrics=[function]); or name another metric."
        )
    truth = _labels(target, encoded)
    given = _chances(target, outputs) if metric.needs == "probability" else _predictions(target, outputs)
    arguments = _arguments(metric, target, weight)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what the rows do not define
            value = metric.function(truth, given, **arguments)
    except Exception as error:
        raise ConfigError(
            f"The metric {metric.name!r} raised {type(error).__name__}: {first_line(error)}. It was called with "
            f"y_true {_shown(truth)} and y_pred {_shown(given)}{_more(arguments)}. {_advice(metric, target)}"
        ) from error
    number = np.asarray(value) if np.isscalar(value) or np.ndim(value) == 0 else None
    if number is None or number.dtype.kind not in "fiub":
        raise ConfigError(
            f"The metric {metric.name!r} returned {_of(value)}, and a metric returns one number. Return a mean, for "
            "example float(values.mean())."
        )
    return float(number)


def tried(target: RowTarget, metric: Metric, encoded: np.ndarray) -> None:
    """Call a metric once on labels and nearly right outputs for them, before anything is trained.

    Raises:
        ConfigError: As `own_score`; or it is NaN.
    """
    encoded = encoded[:: -(-len(encoded) // TRIED_ROWS)]
    if target.problem_type == "regression":
        outputs = np.repeat(np.asarray(encoded, dtype=np.float64), target.width, axis=1)
    else:
        truth = encoded if target.problem_type == "multilabel" else np.eye(target.width)[encoded]
        outputs = SURE * (np.asarray(truth, dtype=np.float64) - 0.5)
    if np.isnan(own_score(target, metric, encoded, outputs, None)):
        raise ConfigError(
            f"The metric {metric.name!r} is NaN where predictions are right. Correct it; a metric that some rows do "
            "not define may be NaN for these only."
        )


def _labels(target: RowTarget, encoded: np.ndarray) -> np.ndarray:
    if target.problem_type == "regression":
        return target.restore(np.asarray(encoded, dtype=np.float64))[:, 0]
    if target.problem_type == "multilabel":
        return np.asarray(encoded).astype(np.int64)
    return np.asarray(_classes(target)[np.asarray(encoded)])


def _predictions(target: RowTarget, outputs: np.ndarray) -> np.ndarray:
    if target.problem_type == "regression":
        return target.predicted(outputs)[:, 0]
    chosen = target.choose(outputs)
    return chosen if target.problem_type == "multilabel" else _classes(target)[chosen]


def _chances(target: RowTarget, outputs: np.ndarray) -> np.ndarray:
    if target.problem_type == "regression":
        return target.predicted(outputs)[:, 0]
    chances = target.activate(outputs)
    return chances[:, target.positive_code] if target.problem_type == "binary" else chances


def _classes(target: RowTarget) -> np.ndarray:
    """Return the classes as an array of their own type; texts as objects, as pandas has them."""
    classes = np.array(target.classes)
    if classes.dtype.kind in "biuf" and {type(one) for one in target.classes} <= {bool, int, float}:
        return classes
    objects = np.empty(len(target.classes), dtype=object)
    objects[:] = list(target.classes)
    return objects


def _arguments(metric: Metric, target: RowTarget, weight: np.ndarray | None) -> dict[str, Any]:
    """Return what else the function takes: row weights, and the positive class of two."""
    try:
        taken = inspect.signature(metric.function).parameters  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return {}
    bound = getattr(metric.function, "keywords", {})
    arguments: dict[str, Any] = {}
    if weight is not None and "sample_weight" in taken and "sample_weight" not in bound:
        arguments["sample_weight"] = weight
    if target.problem_type == "binary" and "pos_label" in taken and "pos_label" not in bound:
        arguments["pos_label"] = target.positive
    return arguments


def _shown(array: np.ndarray) -> str:
    return f"{array.dtype}{array.shape} such as {array[0]!r}" if len(array) else f"{array.dtype}{array.shape}"


def _more(arguments: dict[str, Any]) -> str:
    return f", {', '.join(sorted(arguments))}" if arguments else ""


def _of(value: object) -> str:
    shape = getattr(value, "shape", None)
    return f"an array of shape {tuple(shape)}" if shape else f"{str(value)[:60]!r} ({type(value).__name__})"


def _advice(metric: Metric, target: RowTarget) -> str:
    if target.problem_type != "regression" and metric.needs == "prediction":
        return (
            "Labels are as in the data. One that takes probabilities is wrapped: thermocline.Metric(name, function, "
            "needs='probability')."
        )
    return "Correct it, or wrap it in a function (y_true, y_pred) -> float."
