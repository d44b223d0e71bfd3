"""Metrics of one's own: functions, scorers, `Metric`; what they are given, what they may return, and after loading."""

import functools
import math

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sk

from support.stopping import killed_before
from support.tiny import TINY, make_table, told
from thermocline import Metric, Predictor
from thermocline.errors import ConfigError, ResumeError, ThermoclineWarning
from thermocline.problems.rowwise.info import INFO
from thermocline.problems.rowwise.metrics import score
from thermocline.problems.rowwise.target import RowTarget
from thermocline.registry import find_metric, find_problem, named_metric

NEW = make_table(80, seed=1)
OPTIONS = {**TINY, "optim.max_epochs": 1, "model.trees": "off"}


def share_of_yes(y_true, y_pred):
    return float((y_true == y_pred)[y_true == "yes"].mean())


def fit(metric, frame=None, *, path=None, resume=False, label="y", problem_type=None, weight=None, **options):
    made = Predictor(label, problem_type, metric, path=path, sample_weight=weight, verbosity=0)
    frame = make_table(60) if frame is None else frame
    return made.fit(frame, hyperparameters={**OPTIONS, **options}, resume=resume)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    return fit(share_of_yes, path=tmp_path_factory.mktemp("own") / "saved")


def test_a_function_decides_and_is_shown_by_its_name(fitted):
    assert fitted.eval_metric == "share_of_yes"
    assert "val_share_of_yes" in fitted.history.columns
    found = fitted.evaluate(NEW)
    wanted = float((fitted.predict(NEW) == "yes")[NEW["y"] == "yes"].mean())
    assert next(iter(found)) == "share_of_yes"
    assert found["share_of_yes"] == pytest.approx(wanted)
    assert fitted.evaluate(NEW, "share_of_yes") == {"share_of_yes": pytest.approx(wanted)}


def test_after_loading_its_name_is_known_and_it_is_handed_in(fitted):
    again = Predictor.load(fitted.path, verbosity=0)
    assert again.eval_metric == "share_of_yes"
    with pytest.warns(ThermoclineWarning, match="'share_of_yes', a function that no saved predictor holds"):
        found = again.evaluate(NEW)
    assert list(found) == ["roc_auc", "accuracy", "f1", "log_loss"] or set(found) == {
        "accuracy",
        "roc_auc",
        "f1",
        "log_loss",
    }
    assert again.evaluate(NEW, [share_of_yes, "f1"]) == fitted.evaluate(NEW, ["share_of_yes", "f1"])
    assert "Hand it in" in told(ConfigError, ValueError, lambda: again.evaluate(NEW, "share_of_yes"))
    message = told(ConfigError, ValueError, lambda: again.fit(make_table(60), overwrite=True))
    assert "Predictor(label, eval_metric=function)" in message
    again.save(fitted.path.parent / "copy")
    assert Predictor.load(fitted.path.parent / "copy", verbosity=0).eval_metric == "share_of_yes"


def test_less_may_be_better(fitted):
    wrong = Metric("wrong", lambda t, p: float((t != p).mean()), greater_is_better=False)
    made = fit(wrong, **{"optim.max_epochs": 2})
    rows = made.history["val_wrong"].dropna()
    assert made.history.kept_scores["wrong"] == pytest.approx(rows.min())
    assert Predictor.load(made.save(fitted.path.parent / "wrong"), verbosity=0)._assembly.target.metric == Metric(
        "wrong", None, greater_is_better=False
    )


def test_what_functions_are_given():
    seen = {}

    def look(name):
        def function(y_true, y_pred):
            seen[name] = (y_true, y_pred)
            return 0.5

        return Metric(f"look_{name}", function, needs=name)

    asked = [look("prediction"), look("probability")]
    whole = make_table(60).assign(y=lambda f: (f["y"] == "yes").map({True: 7, False: 3}))
    made = fit(None, whole)
    made.evaluate(whole, asked)
    for name in ("prediction", "probability"):
        np.testing.assert_array_equal(seen[name][0], whole["y"])
    np.testing.assert_array_equal(seen["prediction"][1], made.predict(whole))
    np.testing.assert_allclose(seen["probability"][1], made.predict_proba(whole)[made.positive_class], atol=1e-6)
    assert seen["probability"][1].ndim == 1
    three = make_table(90).assign(y=lambda f: f["colour"]).drop(columns="colour")
    made = fit(None, three)
    made.evaluate(three, asked)
    np.testing.assert_array_equal(seen["prediction"][0], three["y"])
    np.testing.assert_allclose(seen["probability"][1], made.predict_proba(three), atol=1e-6)
    numbers = make_table(60).assign(y=lambda f: 1e6 + 50 * f["x"])
    made = fit(None, numbers)
    made.evaluate(numbers, asked)
    np.testing.assert_allclose(seen["prediction"][0], numbers["y"], rtol=1e-6)
    np.testing.assert_array_equal(seen["prediction"][1], made.predict(numbers))
    labels = make_table(60).assign(a=lambda f: (f["x"] > 0).astype(int), b=lambda f: (f["z"] > 0).astype(int))
    made = fit(None, labels.drop(columns="y"), label=["a", "b"])
    made.evaluate(labels, asked)
    np.testing.assert_array_equal(seen["prediction"][0], labels[["a", "b"]])
    np.testing.assert_allclose(seen["probability"][1], made.predict_proba(labels), atol=1e-6)


def test_weights_and_the_positive_class_are_handed_on(fitted):
    weighted = NEW.assign(w=np.linspace(0.1, 2, len(NEW)))

    def mean(y_true, y_pred, sample_weight=None):
        return float(np.average(y_true == y_pred, weights=sample_weight))

    made = fit(None, make_table(60).assign(w=1.0), weight="w")
    found = made.evaluate(weighted, [mean, "accuracy"])
    assert found["mean"] == pytest.approx(found["accuracy"])
    assert found["mean"] != pytest.approx(made.evaluate(NEW, mean)["mean"], abs=1e-6)
    two = sk.make_scorer(sk.fbeta_score, beta=2)  # of texts, which it takes for a positive class of 1
    wanted = sk.fbeta_score(NEW["y"], fitted.predict(NEW), beta=2, pos_label=fitted.positive_class)
    assert fitted.evaluate(NEW, two) == {"fbeta_score(beta=2)": pytest.approx(wanted)}


# -- scorers of scikit-learn


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("f1_macro", "f1_macro"),
        ("roc_auc", "roc_auc"),
        ("roc_auc_ovo", "roc_auc_ovo"),
        ("balanced_accuracy", "balanced_accuracy"),
        ("matthews_corrcoef", "mcc"),
        ("neg_log_loss", "log_loss"),
        ("neg_brier_score", "brier"),
        ("jaccard_weighted", "jaccard_weighted"),
    ],
)
def test_scorers_of_its_own_are_names(fitted, name, ours):
    assert named_metric(sk.get_scorer(name)) == name
    assert find_metric(INFO, name).name == ours
    found = fitted.evaluate(NEW, sk.get_scorer(name))
    assert list(found) == [name]
    assert found[name] == (-1 if name.startswith("neg_") else 1) * fitted.evaluate(NEW, ours)[ours]


def test_every_scorer_that_fits_is_scikit_learns_number(fitted):
    """Those of classes and of numbers that scikit-learn lists: by name, the number is the one it computes itself."""
    truth, chance = (NEW["y"] == "yes").to_numpy(), fitted.predict_proba(NEW)["yes"].to_numpy()

    class Fixed:
        _estimator_type, classes_ = "classifier", np.array([False, True])

        def predict(self, x):
            return (fitted.predict(NEW) == "yes").to_numpy()

        def predict_proba(self, x):
            return np.stack([1 - chance, chance], axis=1)

    for name in ("accuracy", "f1_weighted", "recall_macro", "average_precision", "neg_log_loss", "neg_brier_score"):
        scorer = sk.get_scorer(name)
        given = Fixed().predict_proba(None) if "loss" in name else chance
        given = Fixed().predict(None) if scorer._response_method == "predict" else given
        wanted = scorer._sign * scorer._score_func(truth, given, **scorer._kwargs)
        assert fitted.evaluate(NEW, name)[name] == pytest.approx(wanted), name


def test_scorers_that_are_made(fitted):
    scorer = sk.make_scorer(sk.log_loss, greater_is_better=False, response_method="predict_proba", labels=["no", "yes"])
    found = named_metric(scorer)
    assert (found.needs, found.greater_is_better) == ("probability", False)
    made = named_metric(sk.make_scorer(share_of_yes))
    assert (made.name, made.needs, made.greater_is_better) == ("share_of_yes", "prediction", True)
    assert fitted.evaluate(NEW, [sk.make_scorer(share_of_yes)])["share_of_yes"] == pytest.approx(
        share_of_yes(NEW["y"].to_numpy(), fitted.predict(NEW).to_numpy())
    )
    assert named_metric(sk.mean_gamma_deviance).greater_is_better is False
    assert named_metric(sk.roc_auc_score) == "roc_auc_score"


# -- faults


@pytest.mark.parametrize(
    ("function", "parts"),
    [
        (lambda t, p: t == p, ["returned an array of shape", "returns one number"]),
        (lambda t, p: None, ["returned 'None'", "one number"]),
        (lambda t, p: "good", ["returned 'good' (str)"]),
        (lambda t, p: math.nan, ["is NaN where predictions are right"]),
        (lambda t: 1.0, ["raised TypeError", "y_true object(", "y_pred object("]),
        (lambda t, p: float((t - p).mean()), ["raised TypeError", "Labels are as in the data"]),
        (functools.partial(sk.fbeta_score, beta=-1), ["raised", "Labels are as in the data"]),
    ],
)
def test_faults_show_before_anything_is_built(function, parts, monkeypatch):
    monkeypatch.setattr("thermocline.problems.rowwise.problem.Rowwise.build", None)
    message = told(ConfigError, ValueError, lambda: fit(Metric("mine", function)))
    for part in ["The metric 'mine'", *parts]:
        assert part in message


def test_names_that_are_taken_or_missing():
    def rmse(y_true, y_pred):
        return 0.0

    message = told(ConfigError, ValueError, lambda: Predictor("y", "regression", rmse))
    assert "of which less is better. Give that by name, 'rmse'" in message
    assert "A lambda has no name" in told(ConfigError, ValueError, lambda: Predictor("y", eval_metric=lambda t, p: 1.0))
    for arguments in (("", len), ("a", 3), ("a", dict)):
        told(ConfigError, ValueError, lambda given=arguments: Metric(*given))
    told(ConfigError, ValueError, lambda: Metric("a", len, needs="scores"))
    told(ConfigError, ValueError, lambda: Metric("a", len, greater_is_better=1))
    assert "Unknown metric 3" in told(ConfigError, ValueError, lambda: Predictor("y", eval_metric=3))
    message = told(ConfigError, ValueError, lambda: find_metric(find_problem("object_detection"), Metric("a", len)))
    assert "takes metrics by name" in message


def test_a_fault_on_some_rows_is_told_too(fitted):
    def only_large(y_true, y_pred):
        return [1, 2][5] if len(y_true) < 10 else 1.0

    assert fitted.evaluate(NEW, only_large) == {"only_large": 1.0}
    message = told(ConfigError, ValueError, lambda: fitted.evaluate(NEW.head(5), only_large))
    assert "The metric 'only_large' raised IndexError" in message


# -- the rest of a fit


def test_stopped_and_resumed_it_is_never_stopped(tmp_path):
    options = {"env.checkpoint_every": 1, "optim.max_epochs": 3}
    fit(share_of_yes, path=tmp_path / "whole", **options)
    with killed_before(6):
        fit(share_of_yes, path=tmp_path / "run", **options)

    def other(y_true, y_pred):
        return 1.0

    message = told(ResumeError, ValueError, lambda: fit(other, path=tmp_path / "run", resume=True, **options))
    assert "share_of_yes" in message
    fit(share_of_yes, path=tmp_path / "run", resume=True, **options)
    for name in ("model.safetensors", "task.json"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "run" / name).read_bytes()
    again = fit(share_of_yes, path=tmp_path / "run", resume=True, **options)  # it has ended
    assert again.eval_metric == "share_of_yes"


def test_searches_and_races_go_by_it():
    options = {"optim.lr": "choice(1e-3, 1e-2)"}
    made = Predictor("y", eval_metric=share_of_yes, verbosity=0)
    made.fit(make_table(60), hyperparameters={**OPTIONS, **options}, search={"trials": 2})
    assert made.leaderboard()["score"].max() == pytest.approx(made.history.kept_scores["share_of_yes"])
    made = Predictor("y", eval_metric=share_of_yes, verbosity=0)
    made.fit(make_table(80), presets="auto", hyperparameters={**OPTIONS, "optim.arms": 2})
    assert made.eval_metric == "share_of_yes"


# -- by name, with a number


def test_pinball_and_top_k():
    frame = pd.DataFrame({"y": np.random.default_rng(0).exponential(size=60)})
    target = RowTarget.of(frame, "y")
    outputs = np.random.default_rng(1).normal(size=(60, 1))
    given = target.predicted(outputs)[:, 0]
    for level in (0.1, 0.9):
        found = score(target, f"pinball:{level}", target.encode(frame), outputs)[f"pinball:{level}"]
        assert found == pytest.approx(sk.mean_pinball_loss(frame["y"], given, alpha=level), rel=1e-5)
    classes = RowTarget.of(pd.DataFrame({"y": list("abcdefgh") * 8}), "y")
    encoded, logits = np.arange(64) % 8, np.random.default_rng(2).normal(size=(64, 8))
    for name in ("top_k:3", "top_3_accuracy", "top3", "Top-3-accuracy", "top_k_accuracy:3", "topk@3"):
        assert find_metric(INFO, name, "multiclass").name == "top_k:3"
    found = score(classes, ["top_k:3", "top_k"], encoded, logits)
    assert found["top_k:3"] == pytest.approx(sk.top_k_accuracy_score(encoded, logits, k=3))
    assert found["top_k"] == pytest.approx(sk.top_k_accuracy_score(encoded, logits, k=5))


@pytest.mark.parametrize("name", ["pinball:1", "pinball:x", "pinball:nan", "top_k:0", "top_k:1.5", "top_k:-2"])
def test_numbers_that_are_none(name):
    kind = "regression" if name.startswith("pinball") else "multiclass"
    message = told(ConfigError, ValueError, lambda: find_metric(INFO, name, kind))
    assert "behind the colon stands" in message
