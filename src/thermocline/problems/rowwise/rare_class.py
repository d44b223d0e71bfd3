"""A warning where one of two classes has few rows."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd

from thermocline.errors import ThermoclineWarning, counted
from thermocline.problems.rowwise.target import RowTarget

RARE = 0.1
"""A class of two with a smaller share of the rows is warned of."""


def warn_of_rare_class(target: RowTarget, frame: pd.DataFrame) -> None:
    """Warn of what accuracy would hide, where one of two classes has few rows."""
    if target.problem_type != "binary":
        return
    sizes = np.bincount(target.encode(frame), minlength=2)
    code = int(sizes.argmin())
    share, rare, other = sizes[code] / sizes.sum(), target.classes[code], target.classes[1 - code]
    if share >= RARE:
        return
    named = f"The positive class {rare!r}" if rare == target.positive else f"Class {rare!r}"
    warnings.warn(
        f"{named} has {sizes[code]:,} of {counted(int(sizes.sum()), 'row')} ({100 * share:.2g} %): to answer {other!r} "
        f"every time has an accuracy of {1 - share:.3g}. See balanced_accuracy, f1 or average_precision.",
        ThermoclineWarning,
        stacklevel=6,
    )
