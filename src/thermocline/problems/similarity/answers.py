"""Predictions of pairs beside their labels: as text, and as what they are off by."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from thermocline.contracts.labelled import Labelled
from thermocline.contracts.problem import Assembly
from thermocline.contracts.reporting import Results
from thermocline.contracts.showing import Answer
from thermocline.inputs.image.cells import cell_text
from thermocline.inputs.image.files import open_image
from thermocline.problems.similarity.info import BINARY, POSITIVES
from thermocline.problems.similarity.labels import values_of
from thermocline.problems.similarity.showing import ShownPair, ShownPairs
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


def shown_pairs(cosines: np.ndarray, found: Labelled, assembly: Assembly) -> ShownPairs:
    """Return pairs with their scores or classes, images as pictures.

    Args:
        cosines: float64 `(rows,)`.
        found: The pairs.
        assembly: The model.
    """
    target: PairTarget = assembly.target
    answers = answers_of(cosines, found.frame, target, labelled=False)
    names = [target.roles["query"], target.roles["response"]]
    kinds = {name: assembly.columns[name].kind for name in names}
    pairs = []
    for name, answer, cells in zip(found.frame.index, answers, found.frame[names].to_numpy(dtype=object), strict=True):
        images = [kinds[column] == "image" for column in names]
        texts = [cell_text(cell) if image else str(cell) for cell, image in zip(cells, images, strict=True)]
        sides: list[Any] = [
            np.asarray(open_image(cell, found.folder)) if image else text
            for cell, text, image in zip(cells, texts, images, strict=True)
        ]
        pairs.append(ShownPair(str(name), (sides[0], sides[1]), (texts[0], texts[1]), answer.prediction, answer.note))
    return ShownPairs(tuple(pairs), (names[0], names[1], target.label or "score"))


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
