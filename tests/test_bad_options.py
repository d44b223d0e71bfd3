"""Options that do not exist or do not fit: the nearest names, what is allowed, and nothing loaded."""

from __future__ import annotations

import numpy as np
import pytest

from support.tiny import TINY, make_table, make_texts, told
from thermocline import Predictor
from thermocline.errors import ConfigError, DataError, MissingColumnError, OutputExistsError, SelectorError


def fails(make_predictor, table, *, error=ConfigError, builtin=ValueError, **arguments) -> str:
    return told(error, builtin, lambda: make_predictor().fit(table, **arguments))


# -- the constructor -------------------------------------------------------------------------------


def test_problem_type():
    message = told(ConfigError, ValueError, lambda: Predictor("y", "multi-clas"))
    assert "Unknown problem_type 'multi-clas'" in message
    assert "Did you mean 'multiclass'" in message
    assert "'regression'" in message


def test_metric():
    message = told(ConfigError, ValueError, lambda: Predictor("y", eval_metric="acuracy"))
    assert "Unknown metric 'acuracy'. Did you mean 'accuracy'" in message


def test_metric_of_another_problem_type():
    message = told(ConfigError, ValueError, lambda: Predictor("y", "regression", "roc_auc"))
    assert "'roc_auc' is for binary and multiclass and multilabel problems, and this one is regression" in message
    assert "'rmse'" in message


@pytest.mark.usefixtures("no_loading")
def test_metric_that_does_not_fit_the_label(make_predictor, table):
    message = told(ConfigError, ValueError, lambda: make_predictor(eval_metric="rmse").fit(table))
    assert "'rmse' is for regression problems, and this one is binary" in message
    assert "pass problem_type=" in message


# -- presets and hyperparameters -------------------------------------------------------------------

OPTIONS = [
    ({"optim.lr": -1e-3}, ["optim.lr: -0.001 is not allowed", "above 0"]),
    ({"optim.lr": 0}, ["optim.lr: 0 is not allowed"]),
    ({"optim.lr": "fast"}, ["optim.lr: 'fast' is not allowed", "a number"]),
    ({"optim.lr": float("nan")}, ["optim.lr: nan is not allowed"]),
    ({"optim.lr": True}, ["optim.lr: True is not allowed"]),
    ({"optim.lr_choice": "layerwise_deacy"}, ["optim.lr_choice: 'layerwise_deacy'", "Did you mean 'layerwise_decay'"]),
    ({"optim.lr_choise": "single_lr"}, ["optim.lr_choise is not an option", "Did you mean 'optim.lr_choice'"]),
    ({"optim": {"max_epochs": 0}}, ["optim.max_epochs: 0 is not allowed"]),
    ({"optim.learning_rate": 1e-3}, ["optim.learning_rate", "optim.lr"]),
    ({"model.text.checkpoint_name": "x"}, ["model.text.checkpoint_name", "model.text.checkpoint"]),
    ({"env.precision": "float16"}, ["env.precision: 'float16'", "fp16"]),
    ({"data.valid_fraction": 1.5}, ["data.valid_fraction: 1.5"]),
    ({"optim": 3}, ["optim is a section, not an option"]),
    (["optim.lr"], ["'optim.lr' is neither 'key=value' nor a path"]),
    ("nowhere.yaml", ["nowhere.yaml"]),
    (7, ["hyperparameters cannot be a int"]),
]


@pytest.mark.usefixtures("no_loading")
@pytest.mark.parametrize(("given", "said"), OPTIONS, ids=[str(o[0])[:40] for o in OPTIONS])
def test_options(make_predictor, table, given, said):
    message = fails(make_predictor, table, hyperparameters=given)
    for part in said:
        assert part in message


@pytest.mark.usefixtures("no_loading")
def test_all_faults_in_one_error(make_predictor, table):
    given = {"optim.lr": -1, "optim.lr_choice": "x", "env.batchsize": 3}
    message = fails(make_predictor, table, hyperparameters=given, presets="medium_qualty")
    assert "4 faults" in message
    assert "Did you mean 'medium_quality'" in message
    assert "Did you mean 'env.batch_size'" in message


@pytest.mark.usefixtures("no_loading")
def test_preset(make_predictor, table):
    message = fails(make_predictor, table, presets="hi_quality")
    assert "'hi_quality'" in message
    assert "Did you mean 'high_quality'" in message


@pytest.mark.usefixtures("no_loading")
@pytest.mark.parametrize(
    ("types", "said"),
    [
        ({"x": "number"}, ["column_types['x']: 'number' is no column type", "'numeric'"]),
        ({"y": "categorical"}, ["'y', which is the label"]),
        ("text", ["column_types maps a column to its type", "'text'"]),
    ],
)
def test_column_types(make_predictor, table, types, said):
    message = fails(make_predictor, table, column_types=types)
    for part in said:
        assert part in message


@pytest.mark.usefixtures("no_loading")
def test_column_types_of_an_absent_column(make_predictor, table):
    message = fails(make_predictor, table, error=MissingColumnError, builtin=KeyError, column_types={"xx": "text"})
    assert "'xx'" in message


@pytest.mark.usefixtures("no_loading")
@pytest.mark.parametrize("limit", [0, -5, float("nan"), "1d", "-2m", "0s", "m", "1e3", True])
def test_time_limit(make_predictor, table, limit):
    message = fails(make_predictor, table, time_limit=limit)
    assert (
        f"time_limit is a number of seconds above 0, or a text such as '90s', '20m' or '1.5h', or None; got {limit!r}"
        in message
    )


@pytest.mark.usefixtures("no_loading")
@pytest.mark.parametrize("seed", [-1, 0.5, "a", True, 2**32])
def test_seed(make_predictor, table, seed):
    assert f"not {seed!r}" in fails(make_predictor, table, seed=seed)


@pytest.mark.usefixtures("no_loading")
@pytest.mark.parametrize(("plan", "said"), [("nowhere.json", "There is no plan at 'nowhere.json'"), (3, "not int")])
def test_plan(make_predictor, table, plan, said):
    assert said in fails(make_predictor, table, plan=plan)


def test_plan_that_is_damaged(make_predictor, table, tmp_path):
    file = tmp_path / "plan.json"
    file.write_text('{"layers": [')
    assert str(file) in fails(make_predictor, table, plan=file)


def test_plan_of_another_model(make_predictor, table, tiny):
    plan = make_predictor().explain(table, hyperparameters={**tiny, "model.table.blocks": 3})
    message = told(ConfigError, ValueError, lambda: make_predictor().fit(table, plan=plan, hyperparameters=tiny))
    assert "plan" in message


@pytest.mark.usefixtures("no_loading")
def test_device_that_is_not_there(make_predictor, table):
    import torch

    absent = "cuda" if not torch.cuda.is_available() else "mps"
    message = fails(make_predictor, table, hyperparameters={"env.device": absent})
    assert f"env.device is '{absent}', but torch finds none here" in message


# -- frozen layers ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("selector", "said"),
    [
        ("encoder.layr.0", ["'encoder.layr.0' matches no layer", "Did you mean 'encoder.layer.0'"]),
        ("re:nothing.*", ["'re:nothing.*' matches no layer"]),
        (50, ["The selector 50 asks for the first 50 layers"]),
        ("re:(", ["is no regular expression"]),
    ],
)
def test_frozen_layers_that_match_nothing(make_predictor, text_folder, tiny, selector, said):
    options = {**tiny, "model.text.checkpoint": str(text_folder), "model.frozen_layers": selector}
    message = told(SelectorError, ValueError, lambda: make_predictor().fit(make_texts(), hyperparameters=options))
    for part in said:
        assert part in message


def test_frozen_layers_of_a_tower_that_is_not_there(make_predictor, table, tiny):
    options = {**tiny, "model.text.frozen_layers": "embeddings"}
    message = told(SelectorError, ValueError, lambda: make_predictor().fit(table, hyperparameters=options))
    assert "model.text.frozen_layers='embeddings' matches nothing" in message
    assert "'table'" in message


def test_everything_frozen(make_predictor, table, tiny):
    options = {**tiny, "model.frozen_layers": ["backbone", "head"]}
    message = told(SelectorError, ValueError, lambda: make_predictor().fit(table, hyperparameters=options))
    assert "frozen" in message
    assert "nothing" in message


# -- the output folder -----------------------------------------------------------------------------


@pytest.mark.usefixtures("no_loading")
def test_output_of_another_run(table, tmp_path, fitted_table):
    fitted_table.save(tmp_path / "run")
    before = sorted((tmp_path / "run").rglob("*"))
    predictor = Predictor("y", path=tmp_path / "run", verbosity=0)
    message = told(OutputExistsError, FileExistsError, lambda: predictor.fit(table))
    assert "already holds another run" in message
    assert str(tmp_path / "run") in message
    assert "Choose another path" in message
    assert sorted((tmp_path / "run").rglob("*")) == before


@pytest.mark.usefixtures("no_loading")
def test_output_with_other_files(table, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    predictor = Predictor("y", path=tmp_path, verbosity=0)
    assert "already holds other files" in told(OutputExistsError, FileExistsError, lambda: predictor.fit(table))
    file = Predictor("y", path=tmp_path / "notes.txt", verbosity=0)
    assert "already holds a file" in told(OutputExistsError, FileExistsError, lambda: file.fit(table))
    below = Predictor("y", path=tmp_path / "notes.txt" / "run", verbosity=0)
    assert "notes.txt' is a file" in told(ConfigError, ValueError, lambda: below.fit(table))


def test_save_over_another_run(tmp_path, fitted_table, make_predictor):
    other = make_predictor().fit(make_table(20), hyperparameters={**TINY, "optim.max_epochs": 1})
    other.save(tmp_path / "run")
    other.save(tmp_path / "run")  # its own folder may be replaced
    message = told(OutputExistsError, FileExistsError, lambda: fitted_table.save(tmp_path / "run"))
    assert "already holds another run" in message


def test_save_needs_a_path(fitted_table):
    assert "save needs a path" in told(ConfigError, ValueError, fitted_table.save)


# -- data that is no frame -------------------------------------------------------------------------


@pytest.mark.usefixtures("no_loading")
@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"x": [1]}, "no label column 'y'"),
        (np.zeros((3, 2)), "not numpy.ndarray"),
        (None, "not NoneType"),
        ("nowhere.csv", "The file 'nowhere.csv' does not exist"),
        ("table.xlsx", "'.xlsx' is none of .csv, .tsv, .parquet"),
    ],
)
def test_no_frame(make_predictor, data, said):
    assert said in told(DataError, ValueError, lambda: make_predictor().fit(data))
