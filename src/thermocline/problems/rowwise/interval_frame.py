"""Predictions of a regression with intervals around them: errors of validation rows, or quantiles and such errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from thermocline.errors import ConfigError
from thermocline.problems.rowwise.intervals import Residuals, check_coverage
from thermocline.problems.rowwise.quantiles import nearest_pair, pairs
from thermocline.problems.rowwise.target import RowTarget
from thermocline.registry.metrics import short


def half_width(target: RowTarget, coverage: float) -> float:
    """Return what is added to and taken away from the prediction, or from the two quantiles of a pair.

    Raises:
        ConfigError: There are classes, or too few validation rows.
    """
    share = check_coverage(coverage)
    if target.problem_type != "regression":
        raise ConfigError(
            f"predict_interval is for regression, and {target.labels[0]!r} is {target.problem_type}. Use predict_proba."
        )
    errors = _errors(target, share)
    if errors is None:
        raise ConfigError(
            "This predictor holds no errors on validation rows, which intervals are made of: it was saved by an "
            "older version, or its time limit left no time to validate. Fit it again."
        )
    return errors.half_width(share)


def interval(outputs: np.ndarray, target: RowTarget, coverage: float, index: pd.Index[Any]) -> pd.DataFrame:
    """Return columns `lower`, `prediction`, `upper` and, of several quantiles, `quantile_0.05` and so on.

    Of several quantiles the interval is that of the pair whose levels are the nearest to the coverage, made wider or
    narrower on both sides by one quantile of how far the validation rows were outside of it (Romano et al. 2019).

    Args:
        outputs: Raw outputs `(rows, width)`.
        target: A regression.
        coverage: The share of new rows that the intervals are to hold.
        index: The frame's index.
    """
    width, middle = half_width(target, coverage), target.decode(outputs, index)
    if len(target.levels) < 2:
        return pd.DataFrame({"lower": middle - width, "prediction": middle, "upper": middle + width})
    quantiles = target.quantiles(outputs)
    low, high = pairs(target.levels)[nearest_pair(target.levels, coverage)]
    ends = np.stack([quantiles[:, low] - width, quantiles[:, high] + width], axis=1)
    prediction = np.asarray(middle, dtype=np.float64)
    columns = {
        "lower": np.minimum(ends[:, 0], prediction),
        "prediction": prediction,
        "upper": np.maximum(ends[:, 1], prediction),
    }
    columns |= {f"quantile_{short(level)}": quantiles[:, place] for place, level in enumerate(target.levels)}
    return pd.DataFrame(columns, index=index)


def _errors(target: RowTarget, coverage: float) -> Residuals | None:
    if len(target.levels) < 2:
        return target.residuals
    pair = nearest_pair(target.levels, coverage)
    return target.intervals[pair] if pair < len(target.intervals) else None
