"""Many rows, many labels, little memory, little time: what the probe takes is bounded, and said."""

from __future__ import annotations

import re
import tracemalloc

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from support.assemblies import prepared_and_assembled
from support.tiny import TINY, make_table
from thermocline import Predictor
from thermocline.errors import ThermoclineWarning
from thermocline.pipeline.assemble import rows_of
from thermocline.problems.rowwise.linear_models import LinearModels
from thermocline.problems.rowwise.probe import fit_probe
from thermocline.problems.rowwise.probe_rows import FEWEST_ROWS, MOST_BYTES, drawn_rows, most_rows, row_bytes
from thermocline.problems.rowwise.probe_solvers import STRENGTHS, unlimited
from thermocline.problems.rowwise.target import RowTarget

FAST = {**TINY, "optim.max_epochs": 1, "env.cache_memory": 1e-6}


def target_of(kind, outputs=3):
    names = tuple(f"label {i}" for i in range(outputs))
    return RowTarget(kind, names if kind == "multilabel" else "y", names, eval_metric="")


def features(rows, width, seed=0):
    return np.random.default_rng(seed).normal(size=(rows, width)).astype(np.float32)


# -- rows ------------------------------------------------------------------------------------------


def test_all_rows_are_used_where_there_are_no_more_than_allowed():
    rows = np.array([1, 4, 6])
    assert drawn_rows(target_of("multiclass"), np.zeros(8, int), rows, 3, 0) is rows


def test_classes_keep_their_shares_and_the_smallest_one_row():
    encoded = np.repeat([0, 1, 2], [800, 199, 1])[np.random.default_rng(0).permutation(1000)]
    rows = np.flatnonzero(np.arange(1000) % 10)  # weights of 0 leave some out
    drawn = drawn_rows(target_of("multiclass"), encoded, rows, 100, 0)
    assert len(drawn) == 100
    assert set(drawn) <= set(rows)
    assert (np.diff(drawn) > 0).all()
    counts = np.bincount(encoded[drawn], minlength=3)
    assert 78 <= counts[0] <= 81
    assert counts[2] == (encoded[rows] == 2).sum()
    assert (drawn == drawn_rows(target_of("multiclass"), encoded, rows, 100, 0)).all()
    assert (drawn != drawn_rows(target_of("multiclass"), encoded, rows, 100, 1)).any()


def test_a_file_sorted_by_label_is_drawn_from_everywhere():
    encoded = np.repeat([0, 1], 5_000)
    drawn = drawn_rows(target_of("binary", 2), encoded, np.arange(10_000), 100, 0)
    assert np.bincount(encoded[drawn]).tolist() == [50, 50]
    assert len(set(drawn // 500)) > 10
    plain = drawn_rows(target_of("regression", 0), np.arange(10_000.0)[:, None], np.arange(10_000), 100, 0)
    assert len(set(plain // 500)) > 10


def test_rare_labels_are_drawn():
    encoded = np.zeros((1000, 3), dtype=np.float32)
    encoded[:, 0] = 1
    encoded[::3, 1] = 1
    encoded[500, 2] = 1
    drawn = drawn_rows(target_of("multilabel"), encoded, np.arange(1000), 60, 0)
    assert 500 in drawn
    assert 15 <= encoded[drawn, 1].sum() <= 25


def test_more_classes_than_rows_allowed():
    assert len(drawn_rows(target_of("multiclass", 500), np.arange(500), np.arange(500), 100, 0)) == 100


@pytest.mark.parametrize("kind", ["binary", "multiclass", "multilabel", "regression"])
def test_rows_times_bytes_stay_within_the_limit(kind):
    target = target_of(kind, 77)
    for width in (4, 384, 4096):
        assert most_rows(target, width, None) * row_bytes(target, width) <= MOST_BYTES
        assert most_rows(target, width, 100.0) == most_rows(target, width, None)
        assert most_rows(target, width, 0.05) * row_bytes(target, width) <= 5e7
    assert most_rows(target, 384, 1e-9) == FEWEST_ROWS


@pytest.mark.parametrize("kind", ["binary", "multiclass", "multilabel", "regression"])
def test_a_probe_takes_the_bytes_that_are_forecast(kind):
    x, target = features(6000, 96), target_of(kind, {"binary": 2, "regression": 0}.get(kind, 5))
    scores = x[:, :5] + np.random.default_rng(1).normal(size=(6000, 5))
    encoded = {
        "binary": (scores[:, 0] > 0).astype(int),
        "multiclass": scores.argmax(axis=1),
        "multilabel": (scores > 0).astype(np.float32),
        "regression": scores[:, :1].astype(np.float32),
    }[kind]
    fit_probe(x[:50].copy(), encoded[:50], target)  # imports
    tracemalloc.start()
    fit_probe(x, encoded, target, overwrite=True)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    choice = 2_000_000  # rows that the strength is chosen on: no more of them
    assert peak <= len(x) * (row_bytes(target, 96) - 4 * 96) + choice


@pytest.mark.parametrize("kind", ["binary", "multilabel", "regression"])
def test_a_fit_uses_as_many_rows_as_the_memory_for_caches_allows(kind):
    frame = make_table(300)
    labels = {"binary": frame["y"], "regression": frame["x"] + frame["z"] ** 2}
    if kind == "multilabel":
        frame, label = frame.assign(y=(frame["x"] > 0) * 1, b=(frame["z"] > 0) * 1), ["y", "b"]
    else:
        frame, label = frame.assign(y=labels[kind]), "y"
    used = []
    real = LinearModels.solve
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LinearModels, "solve", lambda self, *a, **k: (used.append(len(self.x)), real(self, *a, **k))[1])
        options = {**FAST, "optim.refit": "off"}
        predictor = Predictor(label, verbosity=0).fit(
            frame, make_table(20).assign(**frame[:20]), hyperparameters=options
        )
    assert max(used) == 100
    probe = predictor.history["note"][predictor.history["note"].str.startswith("probe: ")]
    assert probe.tolist()[0].endswith(", on 100 of 300 rows")


def test_the_same_rows_are_used_with_and_without_a_prefix_cache_and_again():
    prepared, assembly = prepared_and_assembled(make_table(300), FAST)
    train, _ = rows_of(prepared, assembly)
    starts = [prepared.problem.learning(assembly, train, seed=seed).start for seed in (0, 0, 1)]
    assert len(starts[0].rows) == 100
    assert (starts[0].rows == starts[1].rows).all()
    assert (starts[0].rows != starts[2].rows).any()


def test_the_forecast_knows_it():
    plan = Predictor("y", verbosity=0).explain(make_table(300), make_table(20), hyperparameters=FAST)
    assert re.search(r"^the probe: of 100 of 300 rows, about [\d.]+ kB$", str(plan.estimate), re.MULTILINE)
    assert "the probe: of 100 of 300 rows" in plan.estimate._repr_html_()
    other = {**FAST, "optim.head_init": "random"}
    assert "the probe" not in str(Predictor("y", verbosity=0).explain(make_table(60), hyperparameters=other).estimate)


# -- labels ----------------------------------------------------------------------------------------


def test_labels_are_solved_together_as_each_would_be_alone():
    x = features(400, 12)
    scores = x @ features(12, 6, seed=1) + features(400, 6, seed=2)
    truth = scores > np.linspace(-3, 3, 6)
    weight = np.random.default_rng(3).uniform(0.2, 3, (2, 400)).astype(np.float32)
    target, given = torch.from_numpy(truth.astype(np.float32)), torch.from_numpy(weight)
    models = LinearModels(torch.from_numpy(x), target, 6, loss="bce", weight=given, seconds_left=unlimited)
    found = models.solve(0.1, models.zeros(), iterations=300, tolerance=1e-8)
    for model, own in enumerate(weight):
        for j in range(6):
            alone = LogisticRegression(C=0.1, tol=1e-6, max_iter=1000).fit(x, truth[:, j], sample_weight=own)
            np.testing.assert_allclose(found[model, j], [*alone.coef_[0], *alone.intercept_], atol=5e-3)


def test_forty_labels_and_three_folds_take_one_solution_for_each_strength(monkeypatch):
    calls = []
    solved = LinearModels.solve
    monkeypatch.setattr(LinearModels, "solve", lambda self, *a, **k: (calls.append(1), solved(self, *a, **k))[1])
    for labels in (9, 40):
        x, calls[:] = features(200, 8), []
        truth = (x @ features(8, labels, seed=1) > 0).astype(np.float32)
        found = fit_probe(x, truth, target_of("multilabel", labels))
        assert 3 < len(calls) <= len(STRENGTHS) + 1
        assert found.note.startswith(f"{labels} logistic regressions, C=")


# -- time ------------------------------------------------------------------------------------------


class Clock:
    """Seconds that pass by one at each look."""

    def __init__(self, seconds):
        self.seconds = seconds

    def __call__(self):
        self.seconds -= 1.0
        return self.seconds


@pytest.mark.parametrize("kind", ["binary", "multiclass", "multilabel", "regression"])
def test_little_time_gives_a_probe_all_the_same(kind):
    x, target = features(2400, 8), target_of(kind, {"binary": 2, "regression": 0}.get(kind, 3))
    encoded = {
        "binary": (x[:, 0] > 0).astype(int),
        "multiclass": x[:, :3].argmax(axis=1),
        "multilabel": (x[:, :3] > 0).astype(np.float32),
        "regression": x[:, :1],
    }[kind]
    found = fit_probe(x, encoded, target, seconds_left=Clock(2.5))
    assert np.isfinite(found.weight).all()


def test_no_time_at_all_is_a_warning_and_the_history_says_so():
    with pytest.warns(ThermoclineWarning, match=r"not validated: time_limit=1e-06 s was over"):
        predictor = Predictor("y", verbosity=0).fit(make_table(60), hyperparameters=TINY, time_limit=1e-6)
    notes = predictor.history["note"].tolist()
    assert "the head starts at random (no time for the probe); validated on 0 of 12 rows (time limit)" in notes
    assert notes[-1] == "kept: step 0, the untrained head (not validated: time limit)"
    assert predictor.history.kept_scores == {}


def test_what_is_left_of_a_validation_is_said(monkeypatch):
    from thermocline.training import scoring

    real = scoring.collect

    def cut(model, rows, collector, how):
        looks = iter([True, False])
        limited = {**vars(how), "in_time": lambda: next(looks, False), "batch_size": 5}
        return real(model, rows, collector, type(how)(**limited) if how.only is None else how)

    monkeypatch.setattr(scoring, "collect", cut)
    options = {**TINY, "optim.max_epochs": 1}
    predictor = Predictor("y", verbosity=0).fit(make_table(60), make_table(12), hyperparameters=options)
    assert predictor.history["note"].str.contains(r"validated on 5 of 12 rows \(time limit\)").sum() == 2


def test_a_limit_that_is_not_reached_changes_nothing():
    frame, options = make_table(60), {**TINY, "optim.max_epochs": 8}
    limits = (None, 1e6, float("inf"))
    plain, *others = [Predictor("y", verbosity=0).fit(frame, hyperparameters=options, time_limit=one) for one in limits]
    for one in others:
        assert plain.predict_proba(frame).equals(one.predict_proba(frame))
