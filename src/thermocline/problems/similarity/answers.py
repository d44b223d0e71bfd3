"""Predictions of pairs beside their labels: as text, and as what they are off by."""

from __future__ import annotations

import numpy as np
import pandas as pd

from thermocline.contracts.reporting import Results
from thermocline.contracts.showing import Answer
from thermocline.problems.similarity.info import BINARY, POSITIVES
from thermocline.problems.similarity.labels import values_of
from thermocline.problems.similarity.target import PairTarget, cosines_of


def answers_of(cosines: np.ndarray, frame: pd.DataFrame, target: PairTarget, *, labelled: bool) -> list[Answer]:
    """Return classes with probabilities, or scores, beside labels.

    Args:
        cosines: float64 `(rows,)`.
        frame: The pairs.
        target: What the label asks for.
        labelled: Whether the frame has labels.
    """
    predicted = target.decode(cosines, frame.index)
    if target.form != BINARY:
        texts = [f"{value:.3f}" for value in predicted]
        notes = [""] * len(texts) if target.label is None else [f"cosine {one:.3f}" for one in cosines]
        if not labelled:
            return [Answer(text, note=note) for text, note in zip(texts, notes, strict=True)]
        labels = [f"{one:g}" for one in target.low + (target.high - target.low) * values_of(frame, target)]
        return [Answer(text, label, None, note) for text, label, note in zip(texts, labels, notes, strict=True)]
    notes = [f"probability of a match {one:.2f}" for one in target.called(cosines)]
    texts = [str(value) for value in predicted]
    if not labelled:
        return [Answer(text, note=note) for text, note in zip(texts, notes, strict=True)]
    matches = values_of(frame, target) > 0
    labels = [str(target.in_order[int(one)]) for one in matches]
    right = [bool(one) for one in (np.asarray(predicted == target.positive) == matches)]
    return [Answer(*one) for one in zip(texts, labels, right, notes, strict=True)]


def pair_report(target: PairTarget, results: Results) -> pd.DataFrame:
    """Return prediction and loss of each pair, on the frame's index.

    Returns:
        `prediction` and `cosine`; and `loss`: the absolute error in the label's units, the log-loss of two classes, or
        1 less the cosine of pairs that all match.
    """
    cosines, index = cosines_of(results.outputs), results.found.frame.index
    called, value = target.called(cosines), values_of(results.found.frame, target)
    if target.form == POSITIVES:
        loss = 1 - cosines
    elif target.form == BINARY:
        loss = -np.log(np.clip(np.where(value > 0, called, 1 - called), 1e-15, 1.0))
    else:
        loss = np.abs(called - target.low - (target.high - target.low) * value)
    predicted = target.decode(cosines, index).array
    return pd.DataFrame({"prediction": predicted, "cosine": cosines, "loss": loss}, index=index)
