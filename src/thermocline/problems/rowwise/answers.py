"""Predictions of rows beside their labels, as text; and the one number of a row that parts of a cell add to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch

from thermocline.contracts.problem import Assembly
from thermocline.contracts.showing import Answer, Explained, GradientOutput
from thermocline.data.row_names import plain
from thermocline.errors import ConfigError, did_you_mean, listing
from thermocline.problems.rowwise.quantiles import nearest
from thermocline.problems.rowwise.target import MIDDLE, RowTarget

NONE = "none"


def texts_of(cells: pd.Series[Any] | pd.DataFrame, target: RowTarget) -> list[str]:
    """Return labels or predictions of rows as text: of several labels those that a row has."""
    if isinstance(cells, pd.DataFrame):
        flags = cells[list(target.labels)].to_numpy()
        return [_joined(name for name, flag in zip(target.labels, row, strict=True) if float(flag)) for row in flags]
    if target.problem_type == "multilabel":
        return [_joined(cell if isinstance(cell, list | tuple | set | np.ndarray) else [cell]) for cell in cells]
    if target.problem_type == "regression":
        return [f"{value:,.4g}" if isinstance(value, float) else str(value) for value in map(plain, cells)]
    return [str(plain(value)) for value in cells]


def _joined(names: Any) -> str:
    return ", ".join(sorted(map(str, names))) or NONE


def answers_of(outputs: np.ndarray, frame: pd.DataFrame, target: RowTarget, *, labelled: bool) -> list[Answer]:
    """Return predictions beside labels: of classes with the probability, of numbers with how far off they are.

    Args:
        outputs: Raw outputs of a model, `(rows, width)`.
        frame: The rows.
        target: What the label asks for.
        labelled: Whether the frame has labels.
    """
    predicted = texts_of(target.decode(outputs, frame.index), target)
    if target.problem_type == "regression":
        numbers = target.predicted(outputs)[:, 0]
        if not labelled:
            return [Answer(text) for text in predicted]
        true = target.quantities(frame)
        labels = texts_of(pd.Series(true), target)
        off = [f"off by {value:+,.4g}" for value in numbers - true]
        return [Answer(text, label, None, note) for text, label, note in zip(predicted, labels, off, strict=True)]
    notes = [""] * len(frame)
    if target.problem_type != "multilabel":
        proba = target.activate(outputs)
        notes = [f"probability {value:.2f}" for value in proba[np.arange(len(proba)), target.choose(outputs)]]
    if not labelled:
        return [Answer(text, note=note) for text, note in zip(predicted, notes, strict=True)]
    encoded = target.encode(frame)
    right = np.atleast_1d((target.choose(outputs) == encoded).reshape(len(frame), -1).all(axis=1)).tolist()
    labels = _labels(encoded, target)
    return [Answer(*one) for one in zip(predicted, labels, right, notes, strict=True)]


def _labels(encoded: np.ndarray, target: RowTarget) -> list[str]:
    if target.problem_type == "multilabel":
        return [_joined(target.classes[k] for k in np.flatnonzero(row)) for row in encoded]
    return [str(target.classes[code]) for code in encoded]


def explained_of(outputs: np.ndarray, target: RowTarget, of: Any) -> Explained:
    """Return the probability of a class or label, or the number; see `Problem.explained`."""
    if target.problem_type == "regression":
        _check_no_class(target, of)
        return Explained(f"{target.labels[0]}", target.predicted(outputs)[:, 0])
    place = _place(outputs, target, of)
    return Explained(f"probability of {target.classes[place]!r}", target.activate(outputs)[:, place])


def gradient_of(assembly: Assembly, outputs: np.ndarray, of: Any) -> GradientOutput:
    """Return the same of the network alone, differentiable: what is fitted beside it has no gradient."""
    target, model = assembly.target, assembly.model
    beside = [name for name in ("trees", "tfidf") if getattr(model, name, None) is not None]
    note = f"gradients are of the network alone, without {' and '.join(beside)} beside it" if beside else ""
    if target.problem_type == "regression":
        _check_no_class(target, of)
        middle = nearest(target.levels, MIDDLE) if target.levels else 0
        what = f"{target.labels[0]}" if target.transform is None else f"{target.labels[0]} on the scale that is learnt"

        def number(batch: Mapping[str, Any]) -> torch.Tensor:
            out: torch.Tensor = model.network(batch)
            scaled: torch.Tensor = out[:, middle].float() * target.std
            return scaled

        return GradientOutput(what, number, note)
    place = _place(outputs, target, of)

    def probability(batch: Mapping[str, Any]) -> torch.Tensor:
        logits = model.network(batch).float() / target.temperature
        several = target.problem_type == "multilabel"
        return (logits.sigmoid() if several else logits.softmax(dim=1))[:, place]  # type: ignore[no-any-return]

    return GradientOutput(f"probability of {target.classes[place]!r}", probability, note)


def _place(outputs: np.ndarray, target: RowTarget, of: Any) -> int:
    """Return the number of a class or label; without one that of the first row's prediction, or its likeliest label.

    Raises:
        ConfigError: There is no such class.
    """
    if of is not None:
        known = [place for place, one in enumerate(target.classes) if one == of or str(one) == str(of)]
        if not known:
            raise ConfigError(f"of={of!r} is none of {listing(target.classes)}.{did_you_mean(of, target.classes)}")
        return known[0]
    if target.problem_type == "multilabel":
        return int(np.argmax(outputs[0]))
    return int(target.choose(outputs[:1])[0])


def _check_no_class(target: RowTarget, of: Any) -> None:
    if of is not None:
        raise ConfigError(f"of={of!r} names a class, and {target.labels[0]!r} is a number. Leave it out.")
