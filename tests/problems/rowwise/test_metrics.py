from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn import metrics as sk

from thermocline.errors import ConfigError, DataError
from thermocline.problems.rowwise.info import INFO
from thermocline.problems.rowwise.metrics import METRICS, score
from thermocline.problems.rowwise.target import RowTarget
from thermocline.registry import find_metric, metric_names

ROWS = 200
RNG = np.random.default_rng(0)
WEIGHT = RNG.uniform(0.1, 2.0, ROWS)


def made(problem: str) -> tuple[RowTarget, np.ndarray, np.ndarray]:
    """A task, its target and outputs that are right more often than not."""
    generator = np.random.default_rng(1)
    if problem == "regression":
        values = generator.normal(500, 80, ROWS)
        frame = pd.DataFrame({"y": values})
        task = RowTarget.of(frame, "y")
        target = task.encode(frame)
        return task, target, target + generator.normal(0, 0.5, target.shape).astype(np.float32)
    if problem == "multilabel":
        frame = pd.DataFrame(generator.integers(2, size=(ROWS, 4)), columns=list("abcd"))
        task = RowTarget.of(frame, list("abcd"))
    else:
        frame = pd.DataFrame({"y": generator.integers(2 if problem == "binary" else 5, size=ROWS)})
        task = RowTarget.of(frame, "y")
    target = task.encode(frame)
    truth = target if problem == "multilabel" else np.eye(task.width)[target]
    return task, target, truth * 2 - 1 + generator.normal(0, 1.2, truth.shape)


CLASSES = {
    "accuracy": lambda y, p, q, w: sk.accuracy_score(y, p, sample_weight=w),
    "balanced_accuracy": lambda y, p, q, w: sk.balanced_accuracy_score(y, p, sample_weight=w),
    "f1_macro": lambda y, p, q, w: sk.f1_score(y, p, average="macro", sample_weight=w),
    "precision_weighted": lambda y, p, q, w: sk.precision_score(y, p, average="weighted", sample_weight=w),
    "recall_micro": lambda y, p, q, w: sk.recall_score(y, p, average="micro", sample_weight=w),
    "log_loss": lambda y, p, q, w: sk.log_loss(y, q, sample_weight=w),
    "mcc": lambda y, p, q, w: sk.matthews_corrcoef(y, p, sample_weight=w),
    "quadratic_kappa": lambda y, p, q, w: sk.cohen_kappa_score(y, p, weights="quadratic", sample_weight=w),
    "hamming_loss": lambda y, p, q, w: sk.hamming_loss(y, p, sample_weight=w),
}


@pytest.mark.parametrize("weight", [None, WEIGHT])
@pytest.mark.parametrize("problem", ["binary", "multiclass"])
def test_class_metrics_agree_with_scikit_learn(problem, weight):
    task, target, logits = made(problem)
    prediction, chance = logits.argmax(1), task.activate(logits)
    found = score(task, CLASSES, target, logits, weight)
    for name, expected in CLASSES.items():
        assert found[name] == pytest.approx(expected(target, prediction, chance, weight)), name
    auc = score(task, "roc_auc", target, logits, weight)["roc_auc"]
    if problem == "binary":
        assert auc == pytest.approx(sk.roc_auc_score(target, chance[:, 1], sample_weight=weight))
        found = score(task, ["f1", "precision", "recall"], target, logits)
        assert found["f1"] == pytest.approx(sk.f1_score(target, prediction))
        assert found["precision"] == pytest.approx(sk.precision_score(target, prediction))
    else:
        assert auc == pytest.approx(sk.roc_auc_score(target, chance, multi_class="ovr", sample_weight=weight))


@pytest.mark.parametrize("weight", [None, WEIGHT])
def test_multilabel_metrics_agree_with_scikit_learn(weight):
    task, target, logits = made("multilabel")
    prediction, chance = (logits > 0).astype(int), task.activate(logits)
    found = score(task, metric_names(INFO, "multilabel"), target, logits, weight)
    assert found["accuracy"] == pytest.approx(sk.accuracy_score(target, prediction, sample_weight=weight))
    assert found["hamming_loss"] == pytest.approx(sk.hamming_loss(target, prediction, sample_weight=weight))
    assert found["f1_macro"] == pytest.approx(sk.f1_score(target, prediction, average="macro", sample_weight=weight))
    assert found["roc_auc"] == pytest.approx(sk.roc_auc_score(target, chance, sample_weight=weight))
    assert found["average_precision"] == pytest.approx(sk.average_precision_score(target, chance, sample_weight=weight))


@pytest.mark.parametrize("weight", [None, WEIGHT])
def test_regression_metrics_are_in_the_labels_own_units(weight):
    task, target, outputs = made("regression")
    truth = target.astype(np.float64)[:, 0] * task.std + task.mean
    given = outputs.astype(np.float64)[:, 0] * task.std + task.mean
    found = score(task, metric_names(INFO, "regression"), target, outputs, weight)
    assert found["rmse"] == pytest.approx(sk.root_mean_squared_error(truth, given, sample_weight=weight))
    assert found["rmse"] > 10
    assert found["mse"] == pytest.approx(found["rmse"] ** 2)
    assert found["mae"] == pytest.approx(sk.mean_absolute_error(truth, given, sample_weight=weight))
    assert found["mape"] == pytest.approx(sk.mean_absolute_percentage_error(truth, given, sample_weight=weight))
    assert found["r2"] == pytest.approx(sk.r2_score(truth, given, sample_weight=weight))
    median = sk.median_absolute_error(truth, given, sample_weight=weight)
    assert found["median_absolute_error"] == pytest.approx(median)
    if weight is None:
        assert found["spearman"] == pytest.approx(stats.spearmanr(truth, given)[0])
        assert found["pearson"] == pytest.approx(stats.pearsonr(truth, given)[0])


@pytest.mark.parametrize("problem", INFO.problem_types)
def test_every_metric_of_a_problem_type_is_computed_and_improves(problem):
    task, target, logits = made(problem)
    names = ["top_k:2" if name == "top_k" else name for name in metric_names(INFO, problem)]
    assert INFO.default_metric[problem] in names
    good, bad = score(task, names, target, logits), score(task, names, target, RNG.permutation(logits))
    for name in names:
        assert math.isfinite(good[name]), name
        better = good[name] > bad[name] if find_metric(INFO, name).greater_is_better else good[name] < bad[name]
        assert better, name
    doubled = score(task, names, target, logits, np.full(ROWS, 2.0))
    assert doubled == pytest.approx(good)


def test_asked_names_are_the_keys_and_aliases_work():
    task, target, logits = made("binary")
    found = score(task, ["acc", "accuracy", "auc"], target, logits)
    assert list(found) == ["acc", "accuracy", "auc"]
    assert found["acc"] == found["accuracy"]
    assert find_metric(INFO, "root_mean_squared_error").name == "rmse"
    assert find_metric(INFO, "spearmanr").greater_is_better


def test_every_metric_that_is_named_is_computed():
    assert set(metric_names(INFO)) == {*METRICS, "pinball", "top_k"}
    aliases = [alias for one in INFO.metrics for alias in one.aliases]
    assert len(set(aliases)) == len(aliases)
    assert not set(aliases) & set(METRICS)


def test_metrics_that_the_data_do_not_define_are_nan_without_a_warning():
    task = RowTarget.of(pd.DataFrame({"y": ["a", "b", "c"]}), "y")
    one_class, logits = np.zeros(4, dtype=np.int64), np.random.default_rng(0).normal(size=(4, 3))
    found = score(task, metric_names(INFO, "multiclass"), one_class, logits)
    assert math.isnan(found["roc_auc"])
    assert math.isnan(found["mcc"])
    assert math.isfinite(found["f1_macro"])
    number = RowTarget.of(pd.DataFrame({"y": [0.5, 1.5, 2.0]}), "y")
    found = score(number, metric_names(INFO, "regression"), np.ones((3, 1)), np.zeros((3, 1)))
    assert math.isnan(found["spearman"])
    assert math.isnan(found["r2"])
    assert math.isfinite(found["rmse"])
    assert math.isfinite(score(number, "mae", np.ones((1, 1)), np.zeros((1, 1)))["mae"])
    labels = RowTarget.of(pd.DataFrame({"a": [0, 1], "b": [1, 0]}), ["a", "b"])
    found = score(labels, metric_names(INFO, "multilabel"), np.zeros((3, 2)), np.zeros((3, 2)))
    assert math.isnan(found["average_precision"])


@pytest.mark.parametrize("problem", INFO.problem_types)
def test_degenerate_rows_warn_of_nothing(problem):
    task, target, logits = made(problem)
    names = metric_names(INFO, problem)
    for rows in (1, 2, 3):
        score(task, names, target[:rows], logits[:rows])
        score(task, names, target[:rows], np.zeros_like(logits[:rows]))
    assert all(math.isnan(v) for v in score(task, names, target[:0], logits[:0]).values())
    broken = logits.copy()
    broken[3] = np.nan
    assert all(math.isnan(v) for v in score(task, names, target, broken).values())


def test_roc_auc_leaves_out_classes_that_do_not_occur():
    task, target, logits = made("multiclass")
    kept = target != 4
    expected = np.mean([sk.roc_auc_score(target[kept] == k, task.activate(logits)[kept, k]) for k in range(4)])
    assert score(task, "roc_auc", target[kept], logits[kept])["roc_auc"] == pytest.approx(expected)


def test_faults():
    with pytest.raises(
        ConfigError, match=r"'rsme'.*Did you mean 'rmse'.*Metrics for regression problems: 'rmse', 'mse'"
    ):
        find_metric(INFO, "rsme", "regression")
    with pytest.raises(ConfigError, match=r"'f1' is for binary problems, and this one is multiclass.*'f1_macro'"):
        find_metric(INFO, "f1", "multiclass")
    with pytest.raises(ConfigError, match="Unknown metric 3"):
        find_metric(INFO, 3)
    with pytest.raises(ConfigError, match="is for object_detection problems"):
        find_metric(INFO, "map", "binary")
    task, target, logits = made("binary")
    with pytest.raises(DataError, match="3 targets, 200 rows"):
        score(task, "accuracy", target[:3], logits)
    with pytest.raises(DataError, match="2 weights"):
        score(task, "accuracy", target, logits, np.ones(2))


@pytest.mark.parametrize("weight", [None, WEIGHT])
def test_metrics_of_probabilities_against_scikit_learn(weight):
    task, target, logits = made("multiclass")
    chance, hot = task.activate(logits), np.eye(5)[target]
    names = ["roc_auc_ovr_weighted", "roc_auc_ovr_micro", "roc_auc_ovo", "roc_auc_ovo_weighted", "brier", "kappa"]
    found = score(task, [*names, "jaccard_macro"], target, logits, weight)
    for average in ("weighted", "micro"):
        wanted = sk.roc_auc_score(target, chance, multi_class="ovr", average=average, sample_weight=weight)
        assert found[f"roc_auc_ovr_{average}"] == pytest.approx(wanted)
    if weight is None:  # scikit-learn's ovo takes no weights
        for name, average in (("roc_auc_ovo", "macro"), ("roc_auc_ovo_weighted", "weighted")):
            wanted = sk.roc_auc_score(target, chance, multi_class="ovo", average=average)
            assert found[name] == pytest.approx(wanted)
    squares = ((chance - hot) ** 2).sum(axis=1)
    assert found["brier"] == pytest.approx(np.average(squares, weights=weight))
    given = logits.argmax(axis=1)
    assert found["kappa"] == pytest.approx(sk.cohen_kappa_score(target, given, sample_weight=weight))
    assert found["jaccard_macro"] == pytest.approx(
        sk.jaccard_score(target, given, average="macro", sample_weight=weight)
    )
    task, target, logits = made("binary")
    found = score(task, ["brier", "specificity"], target, logits, weight)
    chance, given = task.activate(logits)[:, 1], task.choose(logits)
    assert found["brier"] == pytest.approx(sk.brier_score_loss(target, chance, sample_weight=weight))
    assert found["specificity"] == pytest.approx(sk.recall_score(target, given, pos_label=0, sample_weight=weight))


def test_the_calibration_error_is_the_gap_in_fifteen_bins():
    """As in Guo et al. 2017: a hundredth off everywhere is an error of a hundredth, and a right forecast has none."""
    task = RowTarget.of(pd.DataFrame({"y": [0, 1] * 500}), "y")
    sure = np.repeat([0.55, 0.75, 0.95], 1000)  # of class 1, in three bins
    logits = np.stack([np.zeros(3000), np.log(sure / (1 - sure))], axis=1)
    target = np.concatenate([np.arange(1000) < 1000 * (one - 0.05) for one in (0.55, 0.75, 0.95)]).astype(np.int64)
    assert score(task, "ece", target, logits)["ece"] == pytest.approx(0.05)
    weight = np.where(np.arange(3000) < 1000, 1.0, 1e-9)
    right = np.concatenate([np.arange(1000) < 1000 * one for one in (0.55, 0.75, 0.95)]).astype(np.int64)
    assert score(task, "expected_calibration_error", right, logits)["expected_calibration_error"] < 1e-9
    assert score(task, "ece", target, logits, weight)["ece"] == pytest.approx(0.05)


@pytest.mark.parametrize("weight", [None, WEIGHT])
def test_metrics_of_numbers_against_scikit_learn(weight):
    task, target, outputs = made("regression")
    truth, given = task.restore(target)[:, 0], task.predicted(outputs)[:, 0]
    names = ["rmsle", "msle", "explained_variance", "max_error", "smape", "wape", "pinball", "pinball:0.9"]
    found = score(task, names, target, outputs, weight)
    assert found["rmsle"] == pytest.approx(sk.root_mean_squared_log_error(truth, given, sample_weight=weight))
    assert found["msle"] == pytest.approx(found["rmsle"] ** 2)
    wanted = sk.explained_variance_score(truth, given, sample_weight=weight)
    assert found["explained_variance"] == pytest.approx(wanted)
    assert found["max_error"] == pytest.approx(sk.max_error(truth, given))
    each = 2 * np.abs(truth - given) / (np.abs(truth) + np.abs(given))
    assert found["smape"] == pytest.approx(np.average(each, weights=weight))
    off = np.average(np.abs(truth - given), weights=weight) / np.average(np.abs(truth), weights=weight)
    assert found["wape"] == pytest.approx(off)
    assert found["pinball"] == pytest.approx(sk.mean_absolute_error(truth, given, sample_weight=weight) / 2)
    wanted = sk.mean_pinball_loss(truth, given, alpha=0.9, sample_weight=weight)
    assert found["pinball:0.9"] == pytest.approx(wanted)
