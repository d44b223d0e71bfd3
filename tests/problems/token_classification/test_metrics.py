"""Scores of whole entities are those of seqeval in its strict mode."""

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from thermocline.problems.token_classification.metrics import averaged, counts_of, scores_of
from thermocline.problems.token_classification.reporting import kinds_of
from thermocline.problems.token_classification.spans import Span
from thermocline.problems.token_classification.tags import tag_spans

FIXTURE = json.loads((Path(__file__).parent / "seqeval_strict.json").read_text())


def spans_of(lines):
    tokens = [["w"] * len(line.split()) for line in lines]
    return tag_spans(tokens, lines, "Label 'tags'", pd.RangeIndex(len(lines)))


def found_of(lines):
    return [[one._asdict() for one in row] for row in spans_of(lines)]


def test_the_figures_are_those_of_seqeval():
    names = [name for name in FIXTURE["expected"] if "/" not in name]
    got = scores_of(spans_of(FIXTURE["true"]), found_of(FIXTURE["found"]), [*names, "per_class"])
    assert got.keys() == FIXTURE["expected"].keys()
    for name, value in FIXTURE["expected"].items():
        assert got[name] == pytest.approx(value, abs=1e-9), name


def test_nothing_true_and_nothing_found_has_no_score():
    assert math.isnan(scores_of([[]], [[]], ["entity_f1"])["entity_f1"])
    assert math.isnan(scores_of([[]], [[]], ["entity_f1_macro"])["entity_f1_macro"])
    assert scores_of([[Span(0, 1, "a")]], [[]], ["entity_f1"]) == {"entity_f1": 0.0}
    assert scores_of([[]], found_of(["B-a"]), ["entity_precision"]) == {"entity_precision": 0.0}


def test_rows_that_are_drawn_twice_count_twice():
    true, found = spans_of(FIXTURE["true"]), found_of(FIXTURE["found"])
    _, counts = counts_of(true, found)
    drawn = np.full(len(true), 2)
    total = np.einsum("r,rck->ck", drawn, counts)
    assert averaged(total, "entity_f1") == pytest.approx(FIXTURE["expected"]["entity_f1"])


def test_kinds_of_errors():
    true = [Span(0, 3, "a"), Span(5, 8, "b"), Span(10, 12, "a"), Span(20, 22, "a")]
    found = [Span(0, 3, "a"), Span(5, 8, "a"), Span(10, 14, "a"), Span(15, 16, "b")]
    assert kinds_of(true, [one._asdict() for one in found]) == ["right", "class", "borders", "spurious", "missed"]
