"""Pairs of texts take the whole road: fit, predict, evaluate, embed, search, save, load, resume, start again."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr, spearmanr
from sklearn import metrics

from support.cached_fits import history, weights
from support.killed_process import run_until_killed
from support.tiny import told
from support.tiny_pairs import make_pairs, options
from thermocline import Predictor
from thermocline.errors import ConfigError, DataError

KIND = {"problem_type": "similarity", "query": "first", "response": "second", "verbosity": 0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("pairs")


@pytest.fixture(scope="module")
def graded(folder):
    return Predictor("grade", path=folder / "graded", **KIND).fit(make_pairs(), hyperparameters=options(folder))


@pytest.fixture(scope="module")
def matching(folder):
    return Predictor("same", **KIND).fit(make_pairs(), hyperparameters=options(folder))


@pytest.fixture(scope="module")
def positives(folder):
    frame = make_pairs().query("grade >= 3")[["first", "second", "wrong"]]
    own = options(folder, **{"data.negative": "wrong"})
    return Predictor(None, **KIND).fit(frame, hyperparameters=own)


def test_grades_are_predicted_in_their_units_and_scored_by_correlations(graded):
    test = make_pairs(20, seed=1)
    predicted, scores = graded.predict(test), graded.evaluate(test)
    assert graded.problem_type == "similarity"
    assert predicted.name == "grade"
    assert predicted.index.equals(test.index)
    assert list(scores) == ["spearman", "pearson"]
    assert scores["spearman"] == pytest.approx(spearmanr(predicted, test["grade"]).statistic, abs=1e-9)
    assert scores["pearson"] == pytest.approx(pearsonr(predicted, test["grade"]).statistic, abs=1e-9)
    assert graded.score(test) == scores["spearman"]
    u, v = graded.embed(test, side="query"), graded.embed(test["second"], side="response")
    cosine = (u.astype(np.float64) * v).sum(axis=1)
    line = graded._assembly.target
    assert np.allclose(predicted, line.slope * cosine + line.offset, atol=1e-4)


def test_classes_have_a_tuned_threshold_and_probabilities(matching):
    test = make_pairs(30, seed=1)
    proba, predicted, scores = matching.predict_proba(test), matching.predict(test), matching.evaluate(test)
    assert list(proba.columns) == [0, 1]
    assert np.allclose(proba.sum(axis=1), 1)
    assert predicted.dtype == "int64"
    assert (predicted == (proba[1] > matching.threshold)).all()
    assert scores["roc_auc"] == pytest.approx(metrics.roc_auc_score(test["same"], proba[1]), abs=1e-9)
    assert scores["average_precision"] == pytest.approx(metrics.average_precision_score(test["same"], proba[1]))
    assert scores["accuracy"] == pytest.approx(metrics.accuracy_score(test["same"], predicted), abs=1e-9)
    assert scores["f1"] == pytest.approx(metrics.f1_score(test["same"], predicted), abs=1e-9)
    assert matching.classes_.tolist() == [0, 1]
    assert set(matching.evaluate(test, ["recall@3", "mrr"])) == {"recall@3", "mrr"}


def test_matches_alone_are_scored_by_search(positives):
    test = make_pairs(20, seed=1).query("grade >= 3")
    scores = positives.evaluate(test)
    assert list(scores) == ["mrr", "recall:1", "recall:10", "ndcg:10", "map"]
    found = positives.search(test, test, k=len(test))
    own = dict(zip(test["first"], test["second"], strict=True))
    ranks = found[found["response"] == found["query"].map(own)]["rank"]
    assert scores["mrr"] == pytest.approx((1 / ranks).mean(), abs=1e-9)
    assert scores["recall:1"] == pytest.approx((ranks == 1).mean(), abs=1e-9)
    assert positives.predict(test.drop(columns="wrong")).between(-1, 1).all()


def test_embeddings_are_of_length_one(graded):
    test = make_pairs(6, seed=2)
    one = graded.embed(test[["first"]], side="query")
    assert one.dtype == np.float32
    assert one.shape == (6, 32)
    assert np.allclose(np.linalg.norm(one, axis=1), 1, atol=1e-6)
    assert np.allclose(graded.embed(test)[:, :32], one, atol=1e-5)
    assert graded.embed([], side="query").shape == (0, 32)
    assert graded.embed("one text", side="response").shape == (1, 32)


def test_search_is_exact_and_keeps_the_order_of_ties(graded):
    queries, corpus = make_pairs(7, seed=3)["first"], make_pairs(40, seed=4)["second"].tolist()
    corpus = [*corpus, corpus[0], corpus[3]]
    found = graded.search(queries, corpus, k=5)
    assert list(found.columns) == ["query", "response", "score", "rank"]
    assert found.index.equals(queries.index.repeat(5))
    scores = graded.embed(list(queries), side="query") @ graded.embed(corpus, side="response").T
    best = -np.sort(-scores, axis=1)[:, :5]
    assert np.allclose(found["score"].to_numpy().reshape(7, 5), best, atol=1e-5)
    same = graded.search([corpus[0]], corpus, k=2)
    assert same["response"].tolist() == [corpus[0]] * 2
    assert same["score"].nunique() == 1
    assert len(graded.search(queries, corpus, k=1000)) == 7 * len(corpus)


def test_a_corpus_is_saved_loaded_and_of_these_weights(graded, matching, tmp_path):
    corpus = graded.corpus(make_pairs(12, seed=5))
    from thermocline import Corpus

    loaded = Corpus.load(corpus.save(tmp_path / "corpus"))
    assert loaded.names == corpus.names
    assert np.array_equal(loaded.embeddings, corpus.embeddings)
    queries = ["bright film 1"]
    assert graded.search(queries, loaded, 3).equals(graded.search(queries, corpus, 3))
    message = told(ConfigError, ValueError, lambda: matching.search(queries, loaded, 3))
    assert "was made by other weights" in message


def test_it_is_saved_and_loaded(graded, folder):
    test = make_pairs(10, seed=6)
    loaded = Predictor.load(folder / "graded", verbosity=0)
    assert loaded.predict(test).equals(graded.predict(test))
    assert (loaded.query, loaded.response, loaded.label) == ("first", "second", "grade")
    assert np.array_equal(loaded.embed(test, side="query"), graded.embed(test, side="query"))


def test_the_plan_has_blocks_and_a_head(folder):
    plan = Predictor("grade", **KIND).explain(make_pairs(), hyperparameters=options(folder))
    assert {layer.role for layer in plan.layers} >= {"block", "head"}


@pytest.mark.parametrize("choice", ["single_lr", "two_stage", "layerwise_decay"])
def test_every_lr_choice_trains(folder, choice):
    own = options(folder, **{"optim.lr_choice": choice, "optim.max_epochs": 1, "optim.ema": 0.9})
    made = Predictor("grade", **KIND).fit(make_pairs(), hyperparameters=own)
    assert made.plan.lr_choice == choice
    assert np.isfinite(made.predict(make_pairs(5))).all()


def test_phases_explain_recommend_and_a_time_limit(folder):
    own = options(folder, **{"optim.schedule_plan": "gradual_unfreeze"})
    made = Predictor("grade", **KIND)
    plan = made.explain(make_pairs(), hyperparameters=own)
    assert len(plan.phases) > 1
    advice = made.recommend(make_pairs(), hyperparameters=options(folder), memory="8GB")
    assert advice["env.micro_batch_size"].value == advice["env.batch_size"].value  # rows are compared with each other
    made.fit(make_pairs(), hyperparameters=own, time_limit=30)
    assert len(made.plan.phases) == len(plan.phases)
    assert made.history["step"].max() > 0
    assert np.isfinite(made.predict(make_pairs(5))).all()


def test_a_frozen_backbone_gives_the_same_bits_with_its_cache(folder):
    made = {}
    for mode in ("off", "memory"):
        own = options(folder, **{"model.text.frozen_layers": "backbone", "optim.cache_prefix": mode})
        made[mode] = Predictor("grade", **KIND).fit(make_pairs(), hyperparameters=own)
    assert history(made["off"]).equals(history(made["memory"]))
    left, right = weights(made["off"]), weights(made["memory"])
    assert all(torch.equal(left[name], right[name]) for name in left)
    assert "run once a row" in "\n".join(map(str, made["memory"].history["note"]))


JOB = """
from pathlib import Path
from support.tiny_pairs import make_pairs, options
from thermocline import Predictor
own = options(Path(sys.argv[1]), **{"env.checkpoint_every": 1, "optim.max_epochs": 3})
kind = {"problem_type": "similarity", "query": "first", "response": "second", "verbosity": 0}
Predictor("same", path=sys.argv[2], **kind).fit(make_pairs(), hyperparameters=own)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_a_process_that_is_killed_is_resumed_to_the_same_bits(folder, tmp_path):
    own = options(folder, **{"env.checkpoint_every": 1, "optim.max_epochs": 3})
    whole = Predictor("same", path=tmp_path / "whole", **KIND).fit(make_pairs(), hyperparameters=own)
    run_until_killed(JOB, folder, tmp_path / "stopped", step=5)
    resumed = Predictor("same", path=tmp_path / "stopped", **KIND)
    resumed.fit(make_pairs(), hyperparameters=own, resume=True)
    left, right = weights(whole), weights(resumed)
    assert all(torch.equal(left[name], right[name]) for name in left)
    assert whole.threshold == resumed.threshold


def test_a_fit_starts_from_another(graded, folder):
    own = options(folder, **{"optim.max_epochs": 1})
    del own["model.text.checkpoint"]
    again = Predictor("grade", **KIND).fit(make_pairs(seed=7), hyperparameters=own, start_from=graded)
    assert again.started_from["head"] == "whole"
    assert "the projections are those of that fit" in " ".join(again._assembly.built.notes)


def test_sides_are_the_two_columns_of_texts_where_none_is_named(folder):
    frame = make_pairs()[["first", "second", "grade"]].assign(number=np.arange(48.0))
    own = options(folder, **{"optim.max_epochs": 1})
    made = Predictor("grade", "similarity", verbosity=0).fit(frame, hyperparameters=own)
    assert (made._assembly.target.roles["query"], made._assembly.target.roles["response"]) == ("first", "second")
    assert made.columns["number"].kind == "null"


def test_pairs_of_one_query_stay_together(graded):
    frame = make_pairs(60)
    frame["first"] = np.repeat(frame["first"].to_numpy()[:20], 3)
    target = graded._assembly.target
    found = graded._assembly.problem.split(_labelled(frame), target, 0.2, seed=0)
    train, valid = (set(frame["first"].iloc[rows]) for rows in found[:2])
    assert not train & valid
    assert len(found[1]) == 12


def _labelled(frame):
    from thermocline.contracts.labelled import Labelled

    return Labelled(frame)


def test_empty_and_missing_are_errors(graded):
    test = make_pairs(4)
    assert "queries is empty" in told(DataError, ValueError, lambda: graded.search([], test))
    assert "corpus is empty" in told(DataError, ValueError, lambda: graded.search(test, test[:0]))
    message = told(DataError, ValueError, lambda: graded.predict(test.assign(first=["a b", None, "", "c"])))
    assert "'first' of data is missing in 2 rows of 4: row 1, row 2" in message


def test_pairs_are_shown_and_the_worst_are_found(graded, matching, positives):
    test = make_pairs(10, seed=8)
    shown = str(graded.show_results(test, n=2))
    assert "cosine" in shown
    assert "second" in shown
    worst = graded.top_losses(test)
    assert worst["loss"].is_monotonic_decreasing
    assert worst["loss"].iloc[0] == pytest.approx((graded.predict(test) - test["grade"]).abs().max())
    assert "roc_auc" in str(matching.report(test))
    assert "no label" in str(positives.report(test))


def test_show_has_each_pair_with_its_score(graded, matching):
    frame = make_pairs(4)
    shown = graded.show(frame.drop(columns=["grade", "same"]))
    said, html = str(shown), shown._repr_html_()
    predicted = graded.predict(frame)
    for row in range(4):
        assert f"{predicted[row]:.3f}" in said
        assert frame["first"][row] in html
        assert frame["second"][row] in html
    assert "first" in said.splitlines()[0]
    assert "probability of a match" in str(matching.show(frame))
    message = told(DataError, ValueError, lambda: graded.show(make_pairs(40)))
    assert "show takes 1 to 24 pairs, not 40" in message
