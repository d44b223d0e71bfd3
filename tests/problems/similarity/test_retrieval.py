"""Scores of search against scikit-learn's of each query; nearest rows against a whole matrix of products."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, ndcg_score

from thermocline.data.nearest import nearest
from thermocline.problems.similarity.metrics import best_threshold
from thermocline.problems.similarity.retrieval import Ranked

CPU = torch.device("cpu")


def judged(seed=0, rows=60):
    """Pairs of 12 queries and 30 responses, each of which matches one or more queries."""
    rng = np.random.default_rng(seed)
    content = np.column_stack([rng.integers(0, 12, rows), 100 + rng.integers(0, 30, rows)]).astype(np.float64)
    matches = rng.random(rows) < 0.6
    of = {key: rng.normal(size=6).astype(np.float32) for key in np.unique(content)}
    pairs = np.array([[of[q], of[r]] for q, r in content], dtype=np.float32)
    return pairs / np.linalg.norm(pairs, axis=2, keepdims=True), content, matches


def by_query(pairs, content, matches):
    """Truth `(queries, responses)` and scores of the queries that have a match."""
    responses = list(dict.fromkeys(content[:, 1]))
    queries = [q for q in np.unique(content[:, 0]) if matches[content[:, 0] == q].any()]
    truth, scores = np.zeros((len(queries), len(responses))), np.zeros((len(queries), len(responses)))
    vector = {key: pairs[i, side] for side in (1, 0) for i, key in enumerate(content[:, side])}
    for i, q in enumerate(queries):
        for j, r in enumerate(responses):
            truth[i, j] = ((content == (q, r)).all(axis=1) & matches).any()
            scores[i, j] = vector[q] @ vector[r]
    return truth, scores


@pytest.mark.parametrize("seed", [0, 1])
def test_scores_of_search_are_those_of_scikit_learn(seed):
    given = judged(seed)
    truth, scores = by_query(*given)
    found = Ranked.of(*given, CPU)
    order = np.argsort(-scores, axis=1)
    sorted_truth = np.take_along_axis(truth, order, axis=1)
    expected = {
        "map": np.mean([average_precision_score(t, s) for t, s in zip(truth, scores, strict=True)]),
        "ndcg": ndcg_score(truth, scores),
        "ndcg:5": ndcg_score(truth, scores, k=5),
        "mrr": np.mean(1 / (1 + sorted_truth.argmax(axis=1))),
        "recall:5": np.mean(sorted_truth[:, :5].sum(axis=1) / truth.sum(axis=1)),
        "hit_rate:5": np.mean(sorted_truth[:, :5].any(axis=1)),
        "mrr:2": np.mean([1 / (1 + t[:2].argmax()) if t[:2].any() else 0 for t in sorted_truth]),
    }
    for name, value in expected.items():
        assert found.score(name) == pytest.approx(value, abs=1e-9), name


def test_equal_scores_stand_in_the_order_of_the_data():
    same = np.tile(np.eye(3, dtype=np.float32)[:1], (4, 2, 1))
    content = np.array([[0, 10], [0, 11], [0, 12], [0, 13]], dtype=np.float64)
    found = Ranked.of(same, content, np.array([False, False, True, False]), CPU)
    assert found.rank.tolist() == [3]
    assert np.isnan(Ranked.of(same, content, np.zeros(4, dtype=bool), CPU).score("mrr"))


@pytest.mark.parametrize("most", [1, 7, 50, 10_000])
def test_nearest_rows_are_exact_whatever_the_blocks(most):
    rng = np.random.default_rng(0)
    queries, corpus = (rng.integers(-2, 3, (n, 4)).astype(np.float32) for n in (9, 31))  # many ties
    product = queries @ corpus.T
    expected = np.argsort(-product, axis=1, kind="stable")[:, :6]
    places, scores = nearest(queries, corpus, 6, CPU, most=most)
    assert (places == expected).all()
    assert (scores == np.take_along_axis(product, expected, axis=1)).all()


@pytest.mark.parametrize("metric", ["f1", "accuracy"])
def test_the_best_threshold_is_that_of_trying_all(metric):
    from sklearn import metrics

    rng = np.random.default_rng(3)
    called, truth = rng.random(40).round(1).clip(0.1), rng.random(40) < 0.4
    of = {"f1": metrics.f1_score, "accuracy": metrics.accuracy_score}[metric]
    best = max(of(truth, called > edge) for edge in np.linspace(-0.05, 1.05, 111))
    assert of(truth, called > best_threshold(metric, called, truth, None)) == pytest.approx(best)
