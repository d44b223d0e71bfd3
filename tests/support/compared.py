"""Two predictors that were chosen from several fits of the tiny table."""

from __future__ import annotations

import pandas as pd

from support.tiny import make_table
from thermocline import Predictor


def table(predictor: Predictor) -> pd.DataFrame:
    """The leaderboard but for the time."""
    return predictor.leaderboard().drop(columns="seconds")


def same(one: Predictor, other: Predictor) -> bool:
    """Whether both predict the same to the bit."""
    frame = make_table(20, seed=5)
    return one.predict_proba(frame).equals(other.predict_proba(frame))
