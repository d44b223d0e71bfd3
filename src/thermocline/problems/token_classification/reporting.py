"""What a report shows of entities: scores by class, kinds of errors; what is known of each row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from thermocline.contracts.reporting import Redrawn, Results, Told
from thermocline.problems.token_classification.metrics import averaged, counts_of, keys_of, ratios
from thermocline.problems.token_classification.spans import Span
from thermocline.report.sections import Bars, Table

RIGHT, OF_CLASS, OF_BORDERS, OF_BOTH, SPURIOUS, MISSED = "right", "class", "borders", "both", "spurious", "missed"
MEANINGS = {
    RIGHT: "characters and class are the true ones",
    OF_CLASS: "the true characters, another class",
    OF_BORDERS: "the true class, other characters that overlap",
    OF_BOTH: "another class and other characters that overlap",
    SPURIOUS: "no true entity overlaps",
    MISSED: "a true entity that nothing overlaps",
}


def told(results: Results) -> Told:
    """Return scores by class, and what was wrong."""
    classes, counts = counts_of(results.found.labels.rows, results.outputs)
    total = counts.sum(axis=0)
    numbers = np.stack(ratios(total), axis=1).tolist()
    lines = [(str(label), *numbers[k], int(total[k, 2]), int(total[k, 1])) for k, label in enumerate(classes)]
    table = Table("Classes", ("class", "precision", "recall", "f1", "entities", "found"), tuple(lines))
    bars = Bars("F1 of each class", "f1", {line[0]: line[3] for line in lines})
    kinds = Counter(
        kind
        for true, found in zip(results.found.labels.rows, results.outputs, strict=True)
        for kind in kinds_of(true, found)
    )
    errors = tuple((kind, kinds[kind], meaning) for kind, meaning in MEANINGS.items())
    return Told((table, bars, Table("Kinds of errors", ("kind", "entities", "what it is"), errors)))


def kinds_of(true: Sequence[Span], found: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what each entity that was found is, and each true one that nothing overlaps."""
    keys, kinds = keys_of(true), []
    for one in found:
        over = [span for span in true if span.start < one["end"] and one["start"] < span.end]
        same = [span for span in over if (span.start, span.end) == (one["start"], one["end"])]
        if (one["start"], one["end"], one["label"]) in keys:
            kinds.append(RIGHT)
        elif same:
            kinds.append(OF_CLASS)
        elif over:
            kinds.append(OF_BORDERS if any(span.label == one["label"] for span in over) else OF_BOTH)
        else:
            kinds.append(SPURIOUS)
    missed = [span for span in true if not any(one["start"] < span.end and span.start < one["end"] for one in found)]
    return [*kinds, *[MISSED] * len(missed)]


def redrawn(results: Results) -> Redrawn:
    """Return how rows that are drawn again are scored."""
    _, counts = counts_of(results.found.labels.rows, results.outputs)

    def compute(drawn: np.ndarray, metrics: Sequence[Any]) -> dict[str, np.ndarray]:
        total = np.einsum("dr,rck->dck", drawn, counts)
        return {name: averaged(total, name) for name in metrics if isinstance(name, str) and name.startswith("entity_")}

    return Redrawn(compute)


def row_report(results: Results) -> pd.DataFrame:
    """Return how many entities of each row were found.

    Returns:
        `true` (true entities), `found`, `missed`, `wrong`, and `loss`: those missed plus the scores of wrong ones.
    """
    lines = []
    for true, found in zip(results.found.labels.rows, results.outputs, strict=True):
        keys = keys_of(true)
        wrong = [one for one in found if (one["start"], one["end"], one["label"]) not in keys]
        right = len(found) - len(wrong)
        lines.append((len(keys), right, len(keys) - right, len(wrong), _loss(len(keys) - right, wrong)))
    names = ["true", "found", "missed", "wrong", "loss"]
    return pd.DataFrame(lines, index=results.found.frame.index, columns=names)


def _loss(missed: int, wrong: Sequence[Mapping[str, Any]]) -> float:
    return missed + sum(float(one["score"]) for one in wrong)
