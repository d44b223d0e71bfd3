"""Whether numbers are learnt better as they are or as their logarithm: two linear models, compared by cross-validation.

The comparison is made in the label's own units, by the errors that the metric counts, on features that cost little:
numbers with the eighth that each lies in, categories, words. It is made before there is a network, on at most 2,000
rows, in .03 seconds for eight numbers and .2 for six columns of categories.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from thermocline.data.column_values import categories, numbers
from thermocline.data.columns import Columns
from thermocline.problems.rowwise.target import RowTarget
from thermocline.problems.rowwise.transforms import MEANS

LEAST_SKEWNESS = 1.0
LEAST_ROWS, MOST_ROWS = 60, 2_000
FOLDS = 3
TOKENS = 200  # of a column
EIGHTHS = np.arange(1, 8) / 8
LEAST_GAIN = 0.02
LEAST_CERTAINTY, MOST_LOSS = 2.0, -1.0  # in standard errors
STREAM = 0x5CA1E


def chosen_scale(
    target: RowTarget, frame: pd.DataFrame, columns: Columns, seed: int
) -> tuple[RowTarget, tuple[str, ...]]:
    """Return the target on the scale of logarithms and a note, where that is clearly better; else the target as it is.

    It is where labels are at least 0 and skewed to the right by more than 1, and where errors are smaller by 2 % and by
    twice their standard error. Where absolute errors count, squared ones may grow by one standard error: what is a sum
    and no product shows there.

    Args:
        target: A regression.
        frame: The training data.
        columns: The columns of features.
        seed: Of rows and folds.
    """
    labels = target.quantities(frame)
    if labels.min() < 0 or len(labels) < LEAST_ROWS or _skewness(labels) < LEAST_SKEWNESS:
        return target, ()
    rng = np.random.default_rng([seed, STREAM])
    some = frame.iloc[np.sort(rng.permutation(len(labels))[:MOST_ROWS])]
    features = _features(some, columns)
    if features.shape[1] == 0:
        return target, ()
    fold = rng.permutation(len(some)) % FOLDS
    log = target.on_scale("log", frame)
    squared = target.eval_metric in MEANS

    def gained(*, squared: bool) -> tuple[float, float]:
        before, after = (
            _errors(replace(one, loss=None), features, some, fold, squared=squared) for one in (target, log)
        )
        gain = before - after
        return gain.mean() / before.mean(), gain.mean() * np.sqrt(len(gain)) / (gain.std() or 1.0)

    share, certainty = gained(squared=squared)
    if share <= LEAST_GAIN or certainty <= LEAST_CERTAINTY or gained(squared=True)[1] < MOST_LOSS:
        return target, ()
    what = "squared" if squared else "absolute"
    return log, (
        f"{target.labels[0]} is learnt as its logarithm: "
        f"{what} errors of linear models are {100 * share:.0f} % smaller so",
    )


def _skewness(values: np.ndarray) -> float:
    return float((((values - values.mean()) / values.std()) ** 3).mean())


def _errors(
    target: RowTarget, features: np.ndarray, frame: pd.DataFrame, fold: np.ndarray, *, squared: bool
) -> np.ndarray:
    """Return squared or absolute errors of rows that a ridge regression was not fitted to, in the label's units."""
    from sklearn.linear_model import Ridge

    encoded, labels = target.encode(frame)[:, 0].astype(np.float64), target.quantities(frame)
    given = np.empty(len(fold))
    for one in range(FOLDS):
        left = fold == one
        given[left] = Ridge().fit(features[~left], encoded[~left]).predict(features[left])
    if target.transform is not None and squared:
        target = replace(target, transform=target.transform.with_errors(encoded - given))
    off = target.predicted(given[:, None])[:, 0] - labels
    return np.asarray(off**2 if squared else np.abs(off))


def _features(frame: pd.DataFrame, columns: Columns) -> np.ndarray:
    """Return float64 `(rows, width)`: standardised numbers and the eighth that each lies in, categories, words."""
    parts = [np.zeros((len(frame), 0))]
    for column in columns:
        if column.kind == "numeric":
            parts += _of_numbers(numbers(frame[column.name], column))
        elif column.kind == "categorical":
            parts.append(_of_tokens([[one] for one in categories(frame[column.name], column)]))
        elif column.kind == "text":
            parts.append(_of_tokens([set(str(cell).lower().split()) for cell in frame[column.name]]))
    return np.concatenate(parts, axis=1)


def _of_numbers(values: np.ndarray) -> list[np.ndarray]:
    there = np.isfinite(values)
    if not there.any():
        return []
    known = values[there]
    filled = np.where(there, values, known.mean())[:, None]
    edges = np.unique(np.quantile(known, EIGHTHS))
    place = np.where(there, np.searchsorted(edges, values), len(edges) + 1)
    scaled = (filled - filled.mean()) / (filled.std() or 1.0)
    return [scaled, np.eye(len(edges) + 2)[place]]


def _of_tokens(cells: Sequence[Iterable[Any]]) -> np.ndarray:
    """Return 0 and 1 for the most frequent tokens."""
    counts = Counter(token for cell in cells for token in cell)
    places = {token: place for place, (token, _) in enumerate(counts.most_common(TOKENS))}
    there = np.zeros((len(cells), len(places)))
    for row, cell in enumerate(cells):
        there[row, [places[token] for token in cell if token in places]] = 1.0
    return there
