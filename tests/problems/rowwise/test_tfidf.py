"""A linear model of words beside the network: what scikit-learn gives, saved without pickle, the same bits anywhere."""

from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.feature_extraction.text import TfidfVectorizer

from support.stopping import killed_before
from support.tiny import TINY, make_texts, save_text
from thermocline import Predictor
from thermocline.data.batches import Rows
from thermocline.inputs.table.rows import TableRows
from thermocline.inputs.text.rows import TextRows
from thermocline.problems.rowwise import tfidf as module
from thermocline.problems.rowwise import tfidf_rows
from thermocline.problems.rowwise.tfidf_model import TfidfModel, row_terms
from thermocline.problems.rowwise.tfidf_rows import Terms, Vocabulary

ROWS = 160


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return save_text(
        tmp_path_factory.mktemp("text"),
        "bert",
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=48,
    )


def named(rows=ROWS, seed=0):
    """Twelve names, of which each has a number: a network from a random start does not learn it in two epochs."""
    rng = np.random.default_rng(seed)
    name = rng.integers(0, 12, rows)
    words = np.array([f"{a} {b} clerk" for a in ("first", "second", "third", "fourth") for b in ("old", "new", "odd")])
    numbers = np.random.default_rng(7).normal(size=12)
    frame = pd.DataFrame({"title": words[name], "x": rng.normal(size=rows), "y": numbers[name]})
    frame["title"] += [f" of room {i % 40}" for i in range(rows)]
    frame["y"] += 0.3 * frame["x"] + 0.01 * rng.normal(size=rows)
    return frame


def fit(frame, checkpoint, *, label="y", path=None, resume=False, **options):
    given = {**TINY, "model.text.checkpoint": str(checkpoint), "model.text.pretrained": False, "model.trees": "off"}
    types = {"title": "text"} if "title" in frame else {}
    return Predictor(label, path=path, verbosity=0).fit(
        frame, hyperparameters={**given, **options}, column_types=types, resume=resume
    )


def notes(predictor):
    return "\n".join(predictor.history["note"])


def rows_of(sequences, *, y=None, weight=None, table=None, columns=None):
    ids = tuple(np.asarray(one, dtype=np.int32) for one in sequences)
    columns = None if columns is None else tuple(np.asarray(one, dtype=np.int16) for one in columns)
    parts = {"text": TextRows(ids, 0, columns=columns)} | ({} if table is None else {"table": table})
    y = np.arange(len(ids)) % 2 if y is None else y
    return Rows(parts, target=np.asarray(y), weight=weight)


def model_of(rows, outputs, seed=0, cardinalities=None):
    terms = Terms.of([rows], cardinalities, outputs, seed=0)
    vocabulary = Vocabulary.of(terms, outputs)
    rng = np.random.default_rng(seed)
    coefficients = rng.normal(size=(outputs, vocabulary.matrix(terms).shape[1]))
    return vocabulary.model(coefficients, rng.normal(size=outputs)), vocabulary.matrix(terms), coefficients


@pytest.fixture(scope="module")
def blended(checkpoint):
    return fit(named(), checkpoint)


def test_terms_are_those_of_scikit_learn_where_a_word_counts_once():
    texts = ["a b a b c", "b c", "c", "d d a", ""]
    vectors = TfidfVectorizer(ngram_range=(1, 2), binary=True, token_pattern=r"\w")
    wanted = vectors.fit_transform(texts).toarray()
    terms = Terms.of([rows_of([[ord(c) for c in text.split()] for text in texts])], None, 1, seed=0)
    vocabulary = Vocabulary.of(terms, 1)
    got = vocabulary.matrix(terms).toarray()
    names = [chr(k) if k < 2**28 else f"{chr((k >> 28) - 1)} {chr(k & 0xFFFF)}" for k in vocabulary.keys.tolist()]
    assert sorted(names) == list(vectors.get_feature_names_out())
    np.testing.assert_allclose(got[:, np.argsort(names)], wanted, rtol=1e-12)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.integers(0, 6), max_size=9), min_size=1, max_size=8), st.integers(1, 3), st.integers(0, 9))
def test_the_module_gives_the_product_of_features_and_coefficients(sequences, outputs, seed):
    sequences = [one or [0] for one in sequences]
    columns = None if seed % 2 else [np.sort(np.arange(len(one)) % 4) - 1 for one in sequences]
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 3, size=(len(sequences), 1))
    numbers = rng.normal(size=(len(sequences), 2)).astype(np.float32)
    table = TableRows(numbers, (rng.random(numbers.shape) < 0.3).astype(np.float32), codes)
    rows = rows_of(sequences, table=table, columns=columns)
    model, x, coefficients = model_of(rows, outputs, seed, (3,))
    wanted = x @ coefficients.T + model.bias.numpy()
    got = module.predicted(model, rows)
    np.testing.assert_allclose(got.numpy(), wanted, rtol=1e-5, atol=1e-5)
    one_by_one = [model.raw(_batch(rows, np.array([i]))) for i in range(len(rows))]
    assert torch.equal(torch.cat(one_by_one), got)  # bit for bit, however wide a batch is


def _batch(rows, chosen):
    return {
        name: {key: torch.from_numpy(array) for key, array in part.batch(chosen).items()}
        for name, part in rows.parts.items()
    }


def test_unknown_words_and_padding_add_nothing():
    model, _, _ = model_of(rows_of([[1, 2], [3]]), 2)
    strange = module.predicted(model, rows_of([[7, 8, 9], [2, 2, 2]]))
    torch.testing.assert_close(strange[0], model.bias)
    assert not torch.equal(strange[1], model.bias)
    pairs = row_terms((np.array([1, 2]), np.array([2, 1])), None)
    assert pairs[0].tolist() == [0, 0, 0, 1, 1, 1]  # no pair across two rows
    assert len(set(pairs[1].tolist())) == 4


def test_a_word_of_two_columns_is_two_terms_and_special_tokens_are_none():
    sequences, columns = [[9, 5, 6, 8, 5, 6, 9]], [[-1, 0, 0, -1, 1, 1, -1]]
    _, keys = row_terms([np.array(sequences[0])], [np.array(columns[0])])
    pair = (6 << 28) | 6
    assert set(keys.tolist()) == {5, 6, pair, (1 << 56) + 5, (1 << 56) + 6, (1 << 56) + pair}
    assert int(max(keys)) < 2**63


def test_few_terms_are_kept_of_many_and_rows_beyond_the_work_are_left_out(monkeypatch):
    rows = rows_of([[i, 1, 2] for i in range(5, 60)])
    monkeypatch.setattr(tfidf_rows, "MOST_TERMS", 3)
    terms = Terms.of([rows], None, 1, seed=0, most_work=60)
    assert len(terms.y) == 10
    assert {1, 2, (2 << 28) | 2} == set(Vocabulary.of(terms, 1).keys.tolist())


def test_rows_without_weight_are_not_there():
    weight = np.array([1.0, 0.0, 2.0], dtype=np.float32)
    terms = Terms.of([rows_of([[1], [2], [3]], weight=weight)], None, 1, seed=0)
    assert Vocabulary.of(terms, 1).keys.tolist() == [1, 3]
    assert terms.weight.tolist() == [1.0, 2.0]


def test_names_are_learnt_that_the_network_does_not_learn(blended, checkpoint, tmp_path, monkeypatch):
    frame = named(60, seed=1)
    alone = fit(named(), checkpoint, **{"model.tfidf": "off"})
    assert "TF-IDF model: " in notes(blended)
    assert ", with a TF-IDF model (" in blended.history["note"].iloc[-1]
    assert "TF-IDF" not in notes(alone)
    assert blended.evaluate(frame)["rmse"] < 0.5 * alone.evaluate(frame)["rmse"]
    assert blended.history["val_rmse"].iloc[-1] < alone.history["val_rmse"].iloc[-1]
    np.testing.assert_array_equal(alone.embed(frame), blended.embed(frame))
    frame.loc[3, ["title", "x"]] = [None, np.nan]
    before = blended.predict(frame)
    blended.save(tmp_path / "saved")
    monkeypatch.delattr("sklearn.linear_model.Ridge")  # nothing after loading needs it
    pd.testing.assert_series_equal(Predictor.load(tmp_path / "saved").predict(frame), before, check_exact=True)


def test_a_resumed_run_ends_with_the_same_model(blended, checkpoint, tmp_path):
    options = {"path": tmp_path / "run", "resume": True, "env.checkpoint_every": 1}
    with killed_before(6):
        fit(named(), checkpoint, **options)
    again = fit(named(), checkpoint, **options)
    frame = named(40, seed=1)
    pd.testing.assert_series_equal(again.predict(frame), blended.predict(frame), check_exact=True)


def test_classes_are_blended_and_the_rows_that_validate_are_learnt_at_the_end(checkpoint):
    frame = make_texts(ROWS)
    label = next(column for column in frame if column != "text" and frame[column].nunique() == 2)
    predictor = fit(frame, checkpoint, label=label)
    model = predictor._fitted().model.tfidf
    assert isinstance(model, TfidfModel)
    assert model.shape.outputs == 1
    kept = fit(frame, checkpoint, label=label, **{"optim.refit": "off"})._fitted().model.tfidf
    assert not torch.equal(model.bias, kept.bias)
    assert model.share == kept.share


def test_three_classes_of_which_training_rows_show_two():
    class Network:
        towers: ClassVar = {}

    class Target:
        problem_type, width = "multiclass", 3

    work = module._Work(Network(), Target(), 0)
    model = work.fitted(work.task([rows_of([[1, 3], [2], [1], [2, 4]], y=[0, 2, 0, 2])]), 100.0)
    said = module.predicted(model, rows_of([[1], [2]])).softmax(1)
    assert said.argmax(1).tolist() == [0, 2]
    assert float(said[:, 1].max()) < 1e-6


def test_few_rows_several_labels_and_pairs_have_none(checkpoint):
    assert "TF-IDF" not in notes(fit(named(60), checkpoint))
    assert "TF-IDF model: " in notes(fit(named(60), checkpoint, **{"model.tfidf": "on"}))
    frame = named(60).assign(p=lambda f: (f["y"] > 0).astype(int), q=lambda f: (f["x"] > 0).astype(int))
    said = notes(fit(frame.drop(columns="y"), checkpoint, label=["p", "q"], **{"model.tfidf": "on"}))
    assert "no TF-IDF model beside the network: there are several labels" in said
    pair = named(60).assign(other=lambda f: f["title"].to_numpy()[::-1])
    options = {"model.tfidf": "on", "model.text.pair": "apart"}
    given = {**TINY, "model.text.checkpoint": str(checkpoint), "model.text.pretrained": False, **options}
    types = {"title": "text", "other": "text"}
    predictor = Predictor("y", verbosity=0).fit(pair, hyperparameters=given, column_types=types)
    assert "no TF-IDF model beside the network: two texts are compared" in notes(predictor)


def test_rows_too_few_to_validate_are_said(checkpoint):
    predictor = Predictor("y", verbosity=0).fit(
        named(),
        tuning_data=named(8, seed=1),
        hyperparameters={**TINY, "model.text.checkpoint": str(checkpoint), "model.text.pretrained": False},
        column_types={"title": "text"},
    )
    assert "TF-IDF model: none (too few rows validated)" in notes(predictor)


def test_little_time_tries_one_penalty():
    class Network:
        towers: ClassVar = {}

    class Target:
        problem_type, width = "binary", 2

    rows = rows_of([[i % 3, 5] for i in range(30)], y=[int(i % 3 == 0) for i in range(30)])
    outputs, known = np.zeros((30, 2), dtype=np.float32), np.ones(30, dtype=bool)
    short, long = (module._Work(Network(), Target(), 0, lambda left=left: left) for left in (1e-4, 1e9))
    assert short.best(rows, rows, outputs, known).strength == module.STRENGTHS[0]
    assert long.best(rows, rows, outputs, known).strength == module.STRENGTHS[-1]
    none = module._Work(Network(), Target(), 0, lambda: 0.0)
    assert none.best(rows, rows, outputs, known) == "no time"
    one = rows_of([[1], [2]], y=[1, 1])
    assert long.best(one, rows, outputs, known) == "the training rows show no two targets"


def test_rows_are_as_many_as_the_time_allows(monkeypatch):
    drawn = []
    of = Terms.of

    def counted(*given, most_work, **options):
        drawn.append(most_work)
        return of(*given, most_work=most_work, **options)

    monkeypatch.setattr(module.Terms, "of", counted)
    rows = rows_of([[i % 3, 5] for i in range(40)], y=[int(i % 3 == 0) for i in range(40)])

    class Network:
        towers: ClassVar = {}

    class Target:
        problem_type, width = "binary", 2

    for left in (1.0, 1e9):
        module._Work(Network(), Target(), 0, lambda left=left: left).task([rows])
    assert drawn == [200_000, tfidf_rows.MOST_WORK]
