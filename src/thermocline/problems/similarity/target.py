"""What the label of pairs asks for: grades, two classes, or matches alone; and how cosines become predictions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit

from thermocline.problems.similarity.info import BINARY, GRADED, POSITIVES, TYPE

ORDER = ("query", "response", "negative")
"""The sides of a row, in the order of their embeddings."""


@dataclass(frozen=True)
class PairTarget:
    """Pairs and what is known of them.

    Attributes:
        label: The label column, or None.
        roles: `query`, `response` and perhaps `negative` → their columns.
        form: `graded`, `binary` or `positives`.
        classes: The two classes in order, of `binary`.
        positive: The class of pairs that match.
        dtype: Of the label.
        low: The lowest grade of training pairs.
        high: The highest.
        loss: The loss, such as `cosent:20`.
        eval_metric: The metric that validation uses.
        reason: What is notable about the label.
        slope: Of the line that turns cosines into grades, or into the logit of a match.
        offset: Of that line.
        threshold: Probability above which a pair is called a match, of `binary`; None before it is settled.
    """

    label: str | None
    roles: Mapping[str, str]
    form: str
    loss: str
    eval_metric: str
    classes: tuple[Any, ...] = ()
    positive: Any = None
    dtype: str = "float64"
    low: float = 0.0
    high: float = 1.0
    reason: str = ""
    slope: float = 1.0
    offset: float = 0.0
    threshold: float | None = None

    @property
    def problem_type(self) -> str:
        """`similarity`."""
        return TYPE

    @property
    def labels(self) -> tuple[str, ...]:
        """The label column, as a tuple; empty where all pairs match."""
        return () if self.label is None else (self.label,)

    @property
    def sides(self) -> tuple[str, ...]:
        """The columns of the sides, in order."""
        return tuple(self.roles[name] for name in ORDER if name in self.roles)

    def called(self, cosines: np.ndarray) -> np.ndarray:
        """Return grades, probabilities of a match, or the cosines themselves, float64 `(rows,)`."""
        if self.form == POSITIVES:
            return cosines
        line = self.slope * cosines + self.offset
        return line if self.form == GRADED else np.asarray(expit(line))

    def decode(self, cosines: np.ndarray, index: pd.Index[Any]) -> pd.Series[Any]:
        """Return grades in the label's units, classes, or cosines."""
        called = self.called(cosines)
        if self.form != BINARY:
            return pd.Series(called, index=index, name=self.label or "score", dtype="float64")
        matches = called > (0.5 if self.threshold is None else self.threshold)
        no, yes = self.in_order
        values = [yes if one else no for one in matches]
        found = pd.Series(values, index=index, name=self.label, dtype=object)
        dtype: Any = self.dtype
        return found if dtype == "object" else found.astype(dtype)

    def proba(self, cosines: np.ndarray, index: pd.Index[Any]) -> pd.DataFrame:
        """Return probabilities, a column per class in order."""
        match = self.called(cosines)
        columns = [match if one == self.positive else 1 - match for one in self.classes]
        return pd.DataFrame(np.stack(columns, axis=1), index=index, columns=list(self.classes))

    @property
    def in_order(self) -> tuple[Any, Any]:
        """The class of pairs that do not match, and that of those that do."""
        other = next(one for one in self.classes if one != self.positive)
        return other, self.positive

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self) | {"problem_type": TYPE, "roles": dict(self.roles), "classes": list(self.classes)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> PairTarget:
        """Inverse of `to_dict`."""
        own = {name: one for name, one in values.items() if name != "problem_type"}
        return cls(**{**own, "classes": tuple(own["classes"])})


def cosines_of(outputs: np.ndarray) -> np.ndarray:
    """Return the cosines of query and response, float64 `(rows,)`, NaN where a row has no outputs.

    Args:
        outputs: Embeddings of query and response, `(rows, 2 * width)`; or the cosines, `(rows, 1)`.
    """
    if outputs.shape[1] == 1:
        return np.asarray(outputs[:, 0], dtype=np.float64)
    each = outputs.reshape(len(outputs), 2, -1)
    return np.asarray((each[:, 0].astype(np.float64) * each[:, 1].astype(np.float64)).sum(axis=1))
