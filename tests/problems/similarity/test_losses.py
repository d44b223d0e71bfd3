"""Losses of pairs against their definitions, written out pair by pair."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from support.tiny import told
from thermocline.errors import ConfigError
from thermocline.problems.similarity.losses import KNOWN, Pairs, loss_for, read_loss


def pairs_of(rows=5, sides=2, seed=0, value=None, content=None, weight=None):
    torch.manual_seed(seed)
    embeddings = F.normalize(torch.randn(rows, sides, 4), dim=2)
    value = torch.rand(rows) if value is None else torch.tensor(value)
    content = torch.arange(rows * sides).view(rows, sides) if content is None else torch.tensor(content)
    return Pairs(embeddings, value, content.double(), torch.ones(rows) if weight is None else torch.tensor(weight))


def test_cosent_compares_every_two_pairs():
    pairs = pairs_of()
    terms = [
        math.exp(20 * float(pairs.cosine[j] - pairs.cosine[i]))
        for i in range(5)
        for j in range(5)
        if pairs.value[i] > pairs.value[j]
    ]
    found = KNOWN["cosent"].total(pairs, 20.0)
    assert float(found) == pytest.approx(5 * math.log(1 + sum(terms)), rel=1e-5)


def test_cosent_counts_a_row_of_weight_two_as_two_rows():
    one = pairs_of(3, value=[0.1, 0.5, 0.9], weight=[1.0, 2.0, 1.0])
    twice = Pairs(*(torch.cat([each, each[1:2]]) for each in (one.embeddings, one.value, one.content)), torch.ones(4))
    assert float(KNOWN["cosent"].total(one, 5.0)) == pytest.approx(float(KNOWN["cosent"].total(twice, 5.0)), rel=1e-5)


def test_contrastive_and_cosine_regression_are_those_of_sentence_transformers():
    pairs = pairs_of(value=[1.0, 0.0, 1.0, 0.0, 0.0])
    distance = 1 - pairs.cosine
    expected = 0.5 * (pairs.value * distance**2 + (1 - pairs.value) * (0.5 - distance).clamp(min=0) ** 2)
    assert torch.allclose(KNOWN["contrastive"].total(pairs, 0.5), expected.sum())
    assert torch.allclose(KNOWN["cosine"].total(pairs, 0.0), F.mse_loss(pairs.cosine, pairs.value, reduction="sum"))


def test_ranking_is_cross_entropy_over_the_batch():
    pairs = pairs_of(value=[1.0] * 5)
    scores = 20 * pairs.embeddings[:, 0] @ pairs.embeddings[:, 1].T
    expected = F.cross_entropy(scores, torch.arange(5), reduction="sum")
    assert torch.allclose(KNOWN["ranking"].total(pairs, 20.0), expected)
    both = (expected + F.cross_entropy(scores.T, torch.arange(5), reduction="sum")) / 2
    assert torch.allclose(KNOWN["symmetric_ranking"].total(pairs, 20.0), both)


def test_ranking_of_triplets_has_the_negatives_of_all_rows():
    pairs = pairs_of(4, sides=3, value=[1.0] * 4)
    candidates = torch.cat([pairs.embeddings[:, 1], pairs.embeddings[:, 2]])
    expected = F.cross_entropy(20 * pairs.embeddings[:, 0] @ candidates.T, torch.arange(4), reduction="sum")
    assert torch.allclose(KNOWN["ranking"].total(pairs, 20.0), expected)


@pytest.mark.parametrize(
    ("content", "case"),
    [
        ([[0, 9], [1, 9], [2, 7]], "the same response twice"),
        ([[0, 8], [0, 9], [2, 7]], "the same query twice"),
        ([[0, 8], [1, 0], [2, 7]], "a response that is the other query"),
    ],
)
def test_the_same_content_is_no_wrong_answer(content, case):
    pairs = pairs_of(3, value=[1.0] * 3, content=content)
    scores = 20 * pairs.embeddings[:, 0] @ pairs.embeddings[:, 1].T
    masked = scores.clone()
    masked[0, 1] = float("-inf")
    if "other query" not in case:
        masked[1, 0] = float("-inf")
    expected = F.cross_entropy(masked, torch.arange(3), reduction="sum")
    assert torch.allclose(KNOWN["ranking"].total(pairs, 20.0), expected), case


def test_rows_that_do_not_match_are_wrong_answers_and_no_questions():
    pairs = pairs_of(3, value=[1.0, 0.0, 1.0])
    scores = 20 * pairs.embeddings[:, 0] @ pairs.embeddings[:, 1].T
    expected = F.cross_entropy(scores, torch.arange(3), reduction="none")[[0, 2]].sum()
    assert torch.allclose(KNOWN["ranking"].total(pairs, 20.0), expected)
    batch = {"target": torch.tensor([[1.0, 0, 1], [0.0, 2, 3], [1.0, 4, 5]])}
    assert read_loss("ranking").objective().weight(batch) == 2.0


def test_losses_by_name():
    assert str(read_loss("cosent")) == "cosent:20"
    assert str(read_loss(" CoSENT:5 ")) == "cosent:5"
    assert str(read_loss("cosine")) == "cosine"
    assert read_loss("cosent").objective().whole_batch
    assert not read_loss("contrastive").objective().whole_batch
    assert "Did you mean 'cosine' or 'cosent'" in told(ConfigError, ValueError, lambda: read_loss("cosnet"))
    assert "takes no number" in told(ConfigError, ValueError, lambda: read_loss("cosine:2"))
    assert "above 0" in told(ConfigError, ValueError, lambda: read_loss("cosent:-1"))
    message = told(ConfigError, ValueError, lambda: loss_for("graded", "ranking", mixed=False, label="grade"))
    assert "'grade' holds grades. Choose from 'cosent', 'cosine'" in message
