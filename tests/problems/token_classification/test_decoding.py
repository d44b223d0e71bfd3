"""Decoding gives valid tags alone, the best of them, and keeps units whole."""

from itertools import product

import numpy as np
import pytest

from thermocline.problems.token_classification.decoding import best_tags, entity_runs, transitions
from thermocline.problems.token_classification.spans import Span, Spans
from thermocline.problems.token_classification.units import chosen_units, continuing, joined


def test_the_best_of_all_valid_paths():
    random = np.random.default_rng(0)
    begins, inside = transitions(5)
    for length in (1, 2, 4):
        scores = random.normal(size=(length, 5)).astype(np.float32)
        flags = np.array([False, *(random.random(length - 1) < 0.5)])
        longer = random.normal(size=(6, 5)).astype(np.float32)

        def total(path, scores=scores, flags=flags):
            steps = [(inside if flags[k] else begins)[path[k - 1], path[k]] for k in range(1, len(path))]
            first = 0.0 if path[0] in (0, 1, 3) else -1e30
            return first + sum(steps) + sum(scores[k, tag] for k, tag in enumerate(path))

        best = max(product(range(5), repeat=length), key=total)
        got, _ = best_tags([scores, longer], [flags, np.zeros(6, dtype=bool)])
        assert got.tolist() == list(best)


def test_tags_are_valid_whatever_the_scores_are():
    scores = np.full((4, 3), -9.0, dtype=np.float32)
    scores[:, 2] = 0.0  # the model says I- everywhere
    (tags,) = best_tags([scores], [np.zeros(4, dtype=bool)])
    assert tags.tolist() == [1, 2, 2, 2]
    assert entity_runs(tags) == [(0, 4, 0)]
    assert best_tags([np.zeros((0, 3), dtype=np.float32)], [np.zeros(0, dtype=bool)])[0].tolist() == []
    assert best_tags([], []) == []


def test_entities_end_where_units_do():
    scores = np.log(np.array([[0.1, 0.9, 0.0001], [0.6, 0.1, 0.3]], dtype=np.float32))
    assert best_tags([scores], [np.array([False, False])])[0].tolist() == [1, 0]
    assert best_tags([scores], [np.array([False, True])])[0].tolist() == [1, 2]


@pytest.mark.parametrize(
    ("text", "span", "unit"),
    [
        ("saw Ada here", (4, 7), "space"),
        ("saw Ada, here", (4, 7), "word"),
        ("unAmerican", (2, 10), "token"),
        ("小明在北京", (3, 5), "token"),
        ("ve\u0301lo x", (0, 5), "space"),
    ],
)
def test_units_are_learnt_from_the_labels(text, span, unit):
    assert chosen_units([text], Spans(((Span(*span, "a"),),)))[0] == unit


def test_what_combines_is_never_cut():
    assert joined("e\u0301", 1, "token")
    assert joined("\u200d🚀", 1, "token")
    offsets = np.array([[0, 1], [0, 1], [1, 2]])
    assert continuing("👩a", offsets, "token").tolist() == [False, True, False]
