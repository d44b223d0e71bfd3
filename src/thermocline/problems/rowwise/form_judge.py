"""Which of several forms of features tells the most about the labels, by a linear model of a sample of rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from thermocline.problems.rowwise.left_out import LeftOut
from thermocline.problems.rowwise.probe_rows import drawn_rows
from thermocline.problems.rowwise.target import RowTarget

DEAD = 1e-3  # of the median spread: what varies less is not blown up


@dataclass(frozen=True)
class LinearFormJudge:
    """Compares forms of features by ridge regressions of the labels, classes as 0 and 1, left-out row by left-out row.

    The blocks of a form weigh alike, however wide they are. Of all forms within a standard error of the best, the first
    is taken (Breiman et al. 1984, section 3.4.3).

    Attributes:
        target: What the label asks for.
        frame: The training rows.
        seed: For the sample.
    """

    target: RowTarget
    frame: pd.DataFrame
    seed: int

    @cached_property
    def _encoded(self) -> np.ndarray:
        return self.target.encode(self.frame)

    def rows(self, most: int) -> np.ndarray:
        """Return sorted positions of at most this many rows, classes in proportion."""
        return drawn_rows(self.target, self._encoded, np.arange(len(self.frame)), most, self.seed)

    def choose(self, rows: np.ndarray, forms: Mapping[str, Sequence[np.ndarray]]) -> tuple[str, str]:
        """Return the name of a form, and why; see `contracts.inputs.FormJudge`."""
        truth = self._encoded[rows]
        if truth.ndim == 1:
            truth = np.eye(truth.max() + 1)[truth]
        truth = truth.astype(np.float64) - truth.mean(axis=0)
        total = float((truth**2).sum())
        first = next(iter(forms))
        if not total or len(rows) < 2:
            return first, "the labels of the training rows do not differ"
        missed = {name: _errors(blocks, truth) for name, blocks in forms.items()}
        best = min(missed.values(), key=lambda one: float(one.sum()))
        enough = best.mean() + best.std(ddof=1) / np.sqrt(len(best))
        chosen = next(name for name, errors in missed.items() if errors.mean() <= enough)
        shares = ", ".join(f"{name} {100 * errors.sum() / total:.0f} %" for name, errors in missed.items())
        return chosen, f"of the label's variance, a linear model of {len(rows)} rows misses {shares}"


def _errors(blocks: Sequence[np.ndarray], truth: np.ndarray) -> np.ndarray:
    """Return the squared error of each row by the others, float64 `(rows,)`, at the penalty that is best."""
    scaled = []
    for block in blocks:
        spread = block.std(axis=0, dtype=np.float64)
        scaled.append(block / np.maximum(spread, DEAD * np.median(spread) or 1.0))
    return LeftOut(scaled, truth, np.ones(len(truth))).errors(np.ones(len(scaled)))
