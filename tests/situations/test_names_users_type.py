"""Names that users bring along are understood, and what was chosen can be read."""

from __future__ import annotations

import pandas as pd
import pytest
import torch

from support.tiny import TINY, make_table, told
from thermocline import Predictor
from thermocline.config import resolve
from thermocline.errors import ConfigError, LabelError
from thermocline.problems.rowwise.target import RowTarget
from thermocline.registry import find_metric, find_problem, problem_infos


def test_the_metric_that_was_used_can_be_read(tmp_path):
    predictor = Predictor("y", path=tmp_path / "model", verbosity=0)
    assert predictor.eval_metric is None
    predictor.fit(make_table(), hyperparameters={**TINY, "optim.max_epochs": 1})
    assert predictor.eval_metric == "roc_auc"
    assert Predictor.load(tmp_path / "model", verbosity=0).eval_metric == "roc_auc"
    numbers = make_table().assign(y=lambda frame: frame["x"] * 2)
    predictor = Predictor("y", verbosity=0).fit(numbers, hyperparameters={**TINY, "optim.max_epochs": 1})
    assert predictor.eval_metric == "rmse"
    predictor.fit(make_table(), hyperparameters={**TINY, "optim.max_epochs": 1})  # nobody gave one: chosen anew
    assert predictor.eval_metric == "roc_auc"


def test_a_metric_that_was_given_is_kept_and_named_by_its_own_name():
    predictor = Predictor("y", eval_metric="acc", verbosity=0)
    assert predictor.eval_metric == "acc"
    assert predictor.fit(make_table(), hyperparameters={**TINY, "optim.max_epochs": 1}).eval_metric == "accuracy"


# -- problem types and metrics


TYPES = [
    ("classification", ["a", "b"], "binary"),
    ("classification", ["a", "b", "c"], "multiclass"),
    ("classification", [0.5, 1.5, 2.5], "multiclass"),
    ("Classification", list(range(30)), "multiclass"),
    ("text-classification", ["a", "b"], "binary"),
    ("binary_classification", ["a", "b"], "binary"),
    ("multi-class", ["a", "b", "c"], "multiclass"),
    ("Multiclass", ["a", "b"], "multiclass"),
    ("multi_label", [["a"], ["b"]], "multilabel"),
    ("REGRESSION", [1, 2], "regression"),
]


@pytest.mark.parametrize(("given", "labels", "found"), TYPES)
def test_problem_types_by_other_names(given, labels, found):
    values = [*labels, *labels]
    assert RowTarget.of(pd.DataFrame({"y": values}), "y", given).problem_type == found
    assert Predictor("y", given, verbosity=0).problem_type in {found, "classification"}


def test_classification_is_settled_by_a_fit_and_reads_what_classes_read():
    options = {**TINY, "optim.max_epochs": 1, "optim.label_smoothing": 0.1}
    predictor = Predictor("y", "classification", "auroc", verbosity=0)
    assert predictor.problem_type == "classification"
    predictor.fit(make_table(), hyperparameters=options)
    assert (predictor.problem_type, predictor.eval_metric) == ("binary", "roc_auc")
    assert list(predictor.evaluate(make_table(20, seed=1), ["AUROC", "f1_score"])) == ["AUROC", "f1_score"]


def test_what_does_not_go_with_classification_says_so():
    message = told(ConfigError, ValueError, lambda: Predictor("y", "classification", "rmse"))
    assert "'rmse' is for regression problems, and this one is classification" in message
    frame = pd.DataFrame({"y": [["a"], ["b"]]})
    assert "lists, which are multilabel" in told(
        LabelError, ValueError, lambda: RowTarget.of(frame, "y", "classification")
    )
    assert "Unknown problem_type 'clasification'" in told(
        ConfigError, ValueError, lambda: Predictor("y", "clasification")
    )


METRICS = {
    "binary": "auroc AUC roc-auc accuracy_score Acc f1_score pr_auc logloss recall_score precision_score MCC bacc",
    "multiclass": "macro_f1 f1_weighted cross-entropy qwk balanced_accuracy_score",
    "multilabel": "auroc hamming micro_f1 auprc",
    "regression": "RMSE MSE mean_absolute_error l1 R2 r2_score spearman_r pearsonr",
    "object_detection": "mAP map50 mAP@0.5 mAP_50_95",
}


@pytest.mark.parametrize("problem_type", METRICS)
def test_metrics_by_other_names(problem_type):
    for name in METRICS[problem_type].split():
        found = find_metric(find_problem(problem_type), name, problem_type)
        assert problem_type in found.problem_types, name
        Predictor("y", problem_type, name, verbosity=0)


def test_no_name_means_two_metrics():
    for info in problem_infos():
        names = [name for one in info.metrics for name in {alias.lower() for alias in (one.name, *one.aliases)}]
        assert len(names) == len(set(names))


def test_a_score_of_scikit_learn_has_its_sign():
    frame = make_table(60)[["x", "z"]].assign(y=lambda f: f["x"] + f["z"])
    options = {**TINY, "optim.max_epochs": 1}
    made = Predictor("y", "regression", "neg_mean_squared_error", verbosity=0).fit(frame, hyperparameters=options)
    assert made.eval_metric == "mse"
    found = made.evaluate(frame, ["neg_mean_squared_error", "mse"])
    assert found["neg_mean_squared_error"] == -found["mse"] < 0


# -- devices


@pytest.mark.parametrize("given", ["cpu:0", "cpu", torch.device("cpu"), torch.device("cpu", 0)])
def test_devices_as_torch_writes_them(given):
    made = resolve(None, {"env.device": given}, problem=find_problem(None))
    assert made.env.device == "cpu"


def test_the_first_gpu_is_cuda():
    for given in ({"env.device": "cuda:0"}, ["env.device=cuda:0"], {"env": {"device": torch.device("cuda:0")}}):
        assert resolve(None, given, problem=find_problem(None)).env.device == "cuda"


def test_another_gpu_is_one_of_the_process():
    message = told(ConfigError, ValueError, lambda: resolve(None, {"env.device": "cuda:1"}, problem=find_problem(None)))
    assert "env.device: 'cuda:1' is not allowed" in message
    assert "CUDA_VISIBLE_DEVICES=1" in message
    message = told(ConfigError, ValueError, lambda: resolve(None, {"env.device": 0}, problem=find_problem(None)))
    assert "'cuda' is the first device" in message
