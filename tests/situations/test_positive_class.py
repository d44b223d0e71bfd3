"""Which of two classes is the positive one, what a rare one hides, and the threshold between both."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize
from scipy.special import expit

from support.tiny import TINY, make_table
from thermocline import Predictor
from thermocline.cli import main
from thermocline.errors import ConfigError, ThermoclineWarning
from thermocline.problems.rowwise.info import INFO
from thermocline.problems.rowwise.metrics import score
from thermocline.problems.rowwise.target import RowTarget
from thermocline.problems.rowwise.threshold import PRIOR_ROWS, best_threshold

FAST = {**TINY, "optim.max_epochs": 1}


def target_of(values, given=None, **more):
    return RowTarget.of(pd.DataFrame({"y": pd.Series(values)}), "y", positive_class=given, **more)


BY_DEFAULT = [
    (["fraud"] + ["ok"] * 3, "fraud", "the rarer"),
    (["b"] + ["a"] * 3, "b", "the rarer"),
    (["a", "b"] * 2, "b", "the later in order"),
    ([1, 1, 1, 0], 1, "by convention"),
    ([1.0, 1.0, 1.0, 0.0], 1.0, "by convention"),
    ([1, 1, 1, -1], 1, "by convention"),
    (["1", "1", "1", "0"], "1", "by convention"),
    ([True, True, True, False], True, "by convention"),
    (["YES", "YES", "YES", "no"], "YES", "by convention"),
    (["y", "y", "y", "n"], "y", "by convention"),
    (["true", "true", "true", "wrong"], "true", "by convention"),
    (["pos", "pos", "pos", "neg"], "pos", "by convention"),
    (["Positive", "Positive", "Positive", "neutral"], "Positive", "by convention"),
    ([1, 1, 1, 2], 2, "the rarer"),  # one code of two, not yes and no
    (["yes", "yes", "yes", "positive"], "positive", "the rarer"),
    (pd.Categorical(["low", "low", "high"], ["low", "high"], ordered=True), "high", "the rarer"),
]


@pytest.mark.parametrize(("values", "positive", "why"), BY_DEFAULT)
def test_the_positive_class_by_default_and_why(values, positive, why):
    target = target_of(values)
    assert (target.positive, type(target.positive)) == (positive, type(positive))
    assert f"positive class {positive!r} ({why}" in target.reason
    again = RowTarget.from_dict(json.loads(json.dumps(target.to_dict())))
    assert again == target


GIVEN = [
    (["fraud", "ok"], "ok", "ok"),
    (["fraud", "ok"], " ok ", "ok"),
    (["red", "red "], "red ", "red "),
    ([0, 1], 0, 0),
    ([0, 1], "0", 0),
    ([0, 1], False, 0),
    ([0, 1], np.int8(0), 0),
    ([0, 1], Decimal(0), 0),
    ([0.0, 1.0], 0, 0.0),
    (["0", "1"], 0, "0"),
    (["0", "1"], 0.0, "0"),
    (["00", "01"], "00", "00"),
    ([False, True], 0, False),
    ([False, True], "false", False),
    ([False, True], np.bool_(False), False),
    (["False", "True"], False, "False"),
]


@pytest.mark.parametrize(("values", "given", "positive"), GIVEN)
def test_a_given_class_is_compared_as_labels_are_read(values, given, positive):
    target = target_of(values * 3, given)
    assert (target.positive, type(target.positive)) == (positive, type(positive))
    assert f"positive class {positive!r} (as given)" in target.reason


@pytest.mark.parametrize("given", ["Fraud", "", 1, float("nan"), ["fraud"], {"fraud"}, b"fraud", pd.NA])
def test_another_one_is_an_error_with_the_classes(given):
    with pytest.raises(ConfigError, match="is none of the two classes of label 'y': 'fraud', 'ok'"):
        Predictor("y", positive_class=given, verbosity=0).explain(make_table().replace({"yes": "fraud", "no": "ok"}))


@pytest.mark.parametrize("label", [["a", "b", "c"] * 20, np.linspace(0, 1, 60)])
def test_it_is_for_two_classes(label):
    with pytest.raises(ConfigError, match=r"positive_class='a' is for binary problems, and 'y' is (multi|regr)"):
        Predictor("y", positive_class="a", verbosity=0).explain(make_table().assign(y=label))


def test_metrics_are_about_it():
    names = ["f1", "precision", "recall", "average_precision", "roc_auc", "accuracy", "log_loss", "mcc", "f1_macro"]
    target = target_of(["fraud", "ok", "ok", "ok", "ok"])
    last = target_of(["a_ok", "fraud", "a_ok", "a_ok", "a_ok"])
    rng = np.random.default_rng(0)
    truth, logits = rng.integers(0, 2, 60), rng.normal(size=(60, 2))
    first = score(target, names, 1 - truth, logits[:, ::-1])
    assert first == pytest.approx(score(last, names, truth, logits))
    missed = score(target, ["recall", "f1"], np.array([0, 1, 1, 1]), np.array([[0.0, 5.0]] * 4))
    assert missed == {"recall": 0.0, "f1": 0.0}  # all the fraud is missed


def test_columns_stay_in_order_and_training_is_the_same_for_either():
    frame = make_table(48)
    fits = [
        Predictor("y", positive_class=one, verbosity=0).fit(frame, hyperparameters=FAST) for one in ("yes", "no", None)
    ]
    assert [one.positive_class for one in fits] == ["yes", "no", "yes"]
    tables = [one.predict_proba(frame) for one in fits]
    assert list(tables[0].columns) == ["no", "yes"]
    assert tables[0].equals(tables[1])
    answers = fits[0].predict(frame)
    for one in fits[:2]:
        asked = frame["y"] == one.positive_class
        assert one.evaluate(frame, "recall")["recall"] == (answers[asked] == one.positive_class).mean()
    with pytest.raises(ConfigError, match="'no', 'yes'"):
        Predictor("y", positive_class="maybe", verbosity=0).fit(frame, hyperparameters=FAST)


def with_frauds(rare: int):
    return make_table(100).assign(y=["fraud"] * rare + ["ok"] * (100 - rare))


def test_a_rare_class_is_warned_of():
    said = r"The positive class 'fraud' has 4 of 100 rows \(4 %\): to answer 'ok' every time has an accuracy of 0.96"
    with pytest.warns(ThermoclineWarning, match=said):
        Predictor("y", verbosity=0).explain(with_frauds(4))
    with pytest.warns(ThermoclineWarning, match=r"Class 'fraud' has 4 of 100 rows"):
        Predictor("y", positive_class="ok", verbosity=0).explain(with_frauds(4))
    Predictor("y", verbosity=0).explain(with_frauds(10))


# -- threshold -------------------------------------------------------------------------------------

TUNES = [one.name for one in INFO.metrics if one.tunes_threshold]


def test_which_metrics_need_a_threshold():
    of_f1, of_jaccard = ([f"{stem}", f"{stem}_macro", f"{stem}_weighted"] for stem in ("f1", "jaccard"))
    known = ["balanced_accuracy", "mcc", "kappa", "quadratic_kappa", *of_f1, "recall_macro", *of_jaccard]
    assert known == TUNES


CASES = [*((one, "fraud", False) for one in TUNES), ("f1", "ok", True), ("mcc", "ok", True)]


@pytest.mark.parametrize(("metric", "given", "weighted"), CASES)
def test_no_threshold_is_better_than_the_one_that_is_found(metric, given, weighted):
    """Of rows that count as both classes: partly by their label, partly by their calibrated probability."""
    target = target_of(["fraud", "ok", "ok"], given, eval_metric=metric)
    rng = np.random.default_rng(len(metric))
    truth = (rng.random(40) > 0.1).astype(int)
    logits = np.stack([rng.normal(size=40) - truth, rng.normal(size=40) + 1.5], axis=1).round(1)  # with ties
    weight = rng.random(40) if weighted else np.ones(40)
    rows = weight.sum() ** 2 / (weight**2).sum()
    margin = logits[:, target.positive_code] - logits[:, 1 - target.positive_code]
    called = truth == target.positive_code
    chance = most_likely_chances(margin, called, weight * rows / weight.sum())
    positive = (rows * called + PRIOR_ROWS * chance) / (rows + PRIOR_ROWS)
    of_ok = positive if target.positive_code == 1 else 1 - positive
    both = np.repeat([0, 1], 40), np.tile(logits, (2, 1)), np.concatenate([weight * (1 - of_ok), weight * of_ok])

    def scored(threshold):
        return score(replace(target, threshold=threshold), metric, *both)[metric]

    found = best_threshold(target, truth, logits, weight if weighted else None)
    values = np.unique(target.activate(logits)[:, target.positive_code])
    everywhere = [*(values[:-1] + values[1:]) / 2, values[0] / 2, (1 + values[-1]) / 2, 0.5]
    assert scored(found) == pytest.approx(max(map(scored, everywhere)), rel=1e-5)
    assert scored(found) >= scored(0.5)


def most_likely_chances(margin, truth, weight):
    def loss(values):
        outputs = values[0] * margin + values[1]
        return weight @ (np.logaddexp(0, outputs) - truth * outputs) + 2 * (values[0] - 1) ** 2 + values[1] ** 2 / 2

    slope, offset = minimize(loss, [1.0, 0.0], tol=1e-10).x
    return expit(slope * margin + offset)


@pytest.mark.parametrize(("metric", "offset"), [("f1", 0.0), ("f1", 2.0), ("mcc", 2.0)])
def test_with_few_rows_it_is_better_on_others_than_the_best_of_these_rows(metric, offset):
    """Also where outputs are off by a constant, as after a loss that weighs classes."""
    target, rng = target_of(["fraud", "ok", "ok"], eval_metric=metric), np.random.default_rng(0)

    def drawn(rows):
        margin = rng.normal(size=rows) * 2 - 2
        truth = (rng.random(rows) > expit(margin)).astype(int)  # fraud is class 0
        return truth, np.stack([margin + offset, np.zeros(rows)], axis=1)

    def scored(threshold, rows):
        return score(replace(target, threshold=threshold), metric, *rows)[metric]

    others, gains = drawn(3000), []
    for _ in range(20):
        few = drawn(60)
        tried = np.linspace(0.04, 0.96, 24)
        best_of_few = max(tried, key=lambda one: (scored(one, few), -abs(one - 0.5)))
        gains.append(scored(best_threshold(target, *few, None), others) - scored(best_of_few, others))
    assert np.mean(gains) > 2 * np.std(gains) / np.sqrt(len(gains))


def test_with_many_rows_labels_decide():
    """Calibrated probabilities are far off here, as outputs tell more than one line through them can."""
    target, rng = target_of(["fraud", "ok", "ok"], eval_metric="f1"), np.random.default_rng(0)
    margin = rng.uniform(-4, 4, size=50_000)
    truth = (rng.random(len(margin)) > np.where(margin > 1, 0.9, 0.05)).astype(int)
    logits = np.stack([margin, np.zeros(len(margin))], axis=1)
    assert best_threshold(target, truth, logits, None) == pytest.approx(expit(1), abs=0.01)


def test_the_threshold_stays_a_half_where_no_other_is_better():
    target = target_of(["fraud", "ok", "ok"], eval_metric="f1")
    sure = np.array([[9.0, -9.0], [-9.0, 9.0]])
    assert best_threshold(target, np.array([0, 1]), sure, None) == 0.5
    assert best_threshold(target, np.array([1, 1]), sure, None) == 0.5
    assert best_threshold(target, np.array([0, 1]), sure * np.nan, None) == 0.5


def rare_table(rows, seed):
    frame = make_table(rows, seed)
    noise = np.random.default_rng(seed + 100).normal(size=rows)
    return frame.assign(y=np.where(frame["x"] + noise > 1.6, "fraud", "ok"))


def test_it_is_found_in_validation_stored_and_applied(tmp_path, capsys):
    frame, tuning = rare_table(120, 0), rare_table(150, 1)
    path = tmp_path / "model"
    given = {**FAST, "model.trees": "off", "optim.refit": "off"}  # these would learn from the tuning data too
    predictor = Predictor("y", eval_metric="f1", path=path, verbosity=0).fit(frame, tuning, hyperparameters=given)
    kept = predictor.history.iloc[-1]
    assert predictor.threshold == kept["val_threshold"] != 0.5
    half = Predictor("y", eval_metric="f1", verbosity=0)
    half.fit(frame, tuning, hyperparameters={**given, "optim.threshold": 0.5})
    assert kept["val_f1"] > half.history.iloc[-1]["val_f1"] == half.evaluate(tuning, "f1")["f1"]
    assert (half.threshold, "val_threshold" in half.history) == (0.5, False)
    for one in (predictor, Predictor.load(path, verbosity=0)):
        assert one.threshold == predictor.threshold
        assert one.evaluate(tuning)["threshold"] == predictor.threshold
        assert one.evaluate(tuning, "f1")["f1"] == kept["val_f1"]
        above = one.predict_proba(tuning)["fraud"] > one.threshold
        assert one.predict(tuning).tolist() == np.where(above, "fraud", "ok").tolist()
    tuning.to_csv(tmp_path / "rows.csv", index=False)
    assert main(["predict", str(path), str(tmp_path / "rows.csv")]) == 0
    assert capsys.readouterr().out.split()[1:] == predictor.predict(tuning).tolist()


def test_a_given_threshold_is_the_one_of_every_validation():
    frame, tuning = rare_table(120, 0), rare_table(150, 1)
    predictor = Predictor("y", eval_metric="accuracy", positive_class="ok", verbosity=0)
    given = {**FAST, "model.trees": "off", "optim.refit": "off", "optim.threshold": 0.9}
    predictor.fit(frame, tuning, hyperparameters=given)
    kept = predictor.history.iloc[-1]
    assert predictor.threshold == kept["val_threshold"] == 0.9
    assert predictor.evaluate(tuning, "accuracy") == {"accuracy": kept["val_accuracy"], "threshold": 0.9}


def test_it_is_a_half_where_the_metric_needs_none():
    predictor = Predictor("y", verbosity=0).fit(make_table(48), hyperparameters=FAST)
    assert predictor.threshold == 0.5
    assert "threshold" not in predictor.evaluate(make_table(48))


def test_it_is_for_two_classes_alone():
    frame = make_table(48).assign(y=["a", "b", "c"] * 16)
    with pytest.raises(ConfigError, match=r"optim\.threshold is set to 0\.3 and has no effect: multiclass"):
        Predictor("y", verbosity=0).explain(frame, hyperparameters={"optim.threshold": 0.3})
    assert Predictor("y", verbosity=0).fit(frame, hyperparameters=FAST).threshold is None


def test_a_predictor_saved_before_there_was_one_has_a_half():
    old = target_of(["fraud", "ok", "ok"]).to_dict()
    del old["threshold"], old["positive"]
    found = RowTarget.from_dict(old)
    assert (found.positive, found.threshold) == ("ok", 0.5)  # the last in order was the positive one
