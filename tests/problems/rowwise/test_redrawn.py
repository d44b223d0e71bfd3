"""Metrics over many draws at once are what `score` says of each draw's rows."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from thermocline.problems.rowwise.metrics import score
from thermocline.problems.rowwise.redrawn import Scored, redrawn_of
from thermocline.problems.rowwise.target import RowTarget
from thermocline.registry.metrics import Metric

RATIOS = [f"{stem}_{average}" for stem in ("f1", "precision", "recall", "jaccard") for average in ("macro", "micro")]
CLASSES = ["accuracy", "log_loss", "roc_auc", "average_precision", "f1_weighted", *RATIOS]
BINARY = [*CLASSES, "f1", "precision", "recall", "jaccard", "balanced_accuracy", "mcc"]
MANY = [*CLASSES, "balanced_accuracy"]
NUMBERS = ["rmse", "mse", "mae", "r2", "spearman"]
ROWS = 40


def rows_of(kind: str, *, weighted: bool, seed: int = 0) -> Scored:
    rng = np.random.default_rng(seed)
    if kind == "regression":
        target = RowTarget.of(pd.DataFrame({"y": rng.normal(50, 9, ROWS)}), "y", "regression")
        encoded = rng.normal(size=(ROWS, 1)).astype(np.float32)
        outputs = (encoded + rng.normal(size=(ROWS, 1))).astype(np.float32)
    elif kind == "multilabel":
        frame = pd.DataFrame({"y": [["a"], ["b"], ["c", "a"], []] * 10})
        target = RowTarget.of(frame, "y")
        encoded = (rng.random((ROWS, 3)) < 0.4).astype(np.float32)
        outputs = (encoded + rng.normal(size=(ROWS, 3))).round(1).astype(np.float32)
    else:
        names = ["no", "yes"] if kind == "binary" else ["a", "b", "c", "d"]
        positive = "no" if kind == "binary" else None
        target = RowTarget.of(pd.DataFrame({"y": names * 10}), "y", positive_class=positive)
        encoded = rng.integers(0, len(names), ROWS)
        outputs = (np.eye(len(names))[encoded] + rng.normal(size=(ROWS, len(names)))).round(1).astype(np.float32)
    weight = rng.uniform(0.5, 2, ROWS).astype(np.float32) if weighted else None
    return Scored(target, encoded, outputs, weight)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    ("kind", "metrics"),
    [
        ("binary", BINARY),
        ("multiclass", [*CLASSES, "balanced_accuracy"]),
        ("multilabel", CLASSES),
        ("regression", NUMBERS),
    ],
)
def test_draws_are_scored_as_their_rows(kind, metrics, weighted):
    rows = rows_of(kind, weighted=weighted)
    rng = np.random.default_rng(1)
    counts = np.stack([np.bincount(rng.integers(ROWS, size=ROWS), minlength=ROWS) for _ in range(4)])
    got = redrawn_of(rows, metrics).compute(counts, metrics)
    for place, row in enumerate(counts):
        drawn = np.repeat(np.arange(ROWS), row)
        weight = None if rows.weight is None else rows.weight[drawn]
        expected = score(rows.target, metrics, rows.encoded[drawn], rows.outputs[drawn], weight)
        assert {name: values[place] for name, values in got.items()} == pytest.approx(expected, abs=1e-6)


def test_what_a_draw_does_not_define_is_nan():
    rows = rows_of("binary", weighted=False)
    one_class = np.zeros((1, ROWS), dtype=np.int64)
    one_class[0, np.flatnonzero(rows.encoded == 0)[:5]] = 2
    assert np.isnan(redrawn_of(rows, ["roc_auc"]).compute(one_class, ["roc_auc"])["roc_auc"]).all()


def test_only_what_is_computed_draw_by_draw_is_slow():
    own = Metric("own", lambda y, p: float((y == p).mean()))
    redrawn = redrawn_of(rows_of("binary", weighted=False), [*BINARY, own])
    assert redrawn.slow == {"mcc", "own"}
    counts = np.ones((2, ROWS), dtype=np.int64)
    assert redrawn.compute(counts, [own])["own"] == pytest.approx(redrawn.compute(counts, ["accuracy"])["accuracy"])
