from __future__ import annotations

import json
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thermocline.errors import ConfigError, LabelError, MissingColumnError, NonFiniteError
from thermocline.problems.rowwise.target import RowTarget


def task_of(values, **kwargs) -> RowTarget:
    return RowTarget.of(pd.DataFrame({"y": values}), "y", **kwargs)


def one_hot(target: np.ndarray, width: int) -> np.ndarray:
    return np.eye(width, dtype=np.float32)[target] * 8.0 - 4.0


INFERRED = [
    ([True, False, True], "binary", "roc_auc"),
    (["a", "b", "a"], "binary", "roc_auc"),
    ([0.5, 1.5, 0.5], "binary", "roc_auc"),
    (["a", "b", "c"], "multiclass", "accuracy"),
    (list(range(20)) * 2, "multiclass", "accuracy"),
    (list(range(21)) * 2, "regression", "rmse"),
    (list(range(10)), "regression", "rmse"),
    ([0.0, 1.0, 2.0] * 2, "multiclass", "accuracy"),
    ([0.5, 1.0, 2.0], "regression", "rmse"),
    ([["a"], ["b", "a"], []], "multilabel", "average_precision"),
]


@pytest.mark.parametrize(("values", "problem", "metric"), INFERRED)
def test_problem_types_are_inferred_by_a_rule(values, problem, metric):
    task = task_of(values)
    assert (task.problem_type, task.eval_metric) == (problem, metric)
    assert task.reason


DTYPES = [
    ([3, 1, 3, 2], "int64"),
    ([3, 1, 3, 2], "int8"),
    ([3, 1, 3, 2], "Int64"),
    ([3, 1, 3, 2], "int64[pyarrow]"),
    ([3.0, 1.0, 3.0, 2.0], "float32"),
    ([True, False, True, False], "bool"),
    ([True, False, True, False], "boolean"),
    (["x", "y", "x", "z"], "str"),
    (["x", "y", "x", "z"], "string"),
    (["x", "y", "x", "z"], "object"),
    ([3, 1, 3, 2], "object"),
    (["x", "y", "x", "z"], "category"),
    (["x", "y", "x", "z"], pd.CategoricalDtype(["z", "y", "x", "unused"], ordered=True)),
    ([3, 1, 3, 2], "category"),
]


@pytest.mark.parametrize(("values", "dtype"), DTYPES)
def test_classes_come_back_in_their_dtype_even_through_json(values, dtype):
    frame = pd.DataFrame({"y": pd.Series(values, index=list("pqrs")).astype(dtype)})
    task = RowTarget.of(frame, "y", problem_type=None if len(set(values)) == 2 else "multiclass")
    target = task.encode(frame)
    assert target.dtype == np.int64
    again = RowTarget.from_dict(json.loads(json.dumps(task.to_dict())))
    assert again == task
    assert [type(value) for value in again.classes] == [type(value) for value in task.classes]
    pd.testing.assert_series_equal(again.decode(one_hot(target, task.width), frame.index), frame["y"])


def test_classes_are_in_order_and_the_last_of_two_is_positive():
    assert task_of(["yes", "no", "no"]).positive == "yes"
    assert "positive class 'yes'" in task_of(["yes", "no", "no"]).reason
    assert task_of([10, 9, 10]).classes == (9, 10)
    ordered = pd.Categorical(["low", "high", "low"], ["low", "high", "never"], ordered=True)
    assert task_of(ordered).classes == ("low", "high")
    assert task_of(["a", "b", "c"]).positive is None
    assert "one row only: 'c'" in task_of(["a", "b", "a", "b", "c"]).reason


def test_widths_and_losses():
    assert (task_of([0, 1]).width, task_of([0, 1]).loss_name) == (2, "cross_entropy")
    assert (task_of(["a", "b", "c"]).width, task_of(["a", "b", "c"]).loss_name) == (3, "cross_entropy")
    assert (task_of([0.1, 0.2, 0.3]).width, task_of([0.1, 0.2, 0.3]).loss_name) == (1, "mse")
    assert (task_of([["a"], ["b"]]).width, task_of([["a"], ["b"]]).loss_name) == (2, "bce")


# -- regression -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float64", "float32", "Float64", "int64", "object"])
def test_regression_is_standardised_inside_and_undone_outside(dtype):
    frame = pd.DataFrame({"y": pd.Series([100, 250, 400, 1000], index=[3, 1, 4, 2]).astype(dtype)})
    task = RowTarget.of(frame, "y", problem_type="regression")
    target = task.encode(frame)
    assert (target.shape, target.dtype) == ((4, 1), np.float32)
    assert target.mean() == pytest.approx(0, abs=1e-6)
    assert target.std() == pytest.approx(1, abs=1e-6)
    decoded = task.decode(target, frame.index)
    assert decoded.dtype == np.float64
    np.testing.assert_allclose(decoded, [100, 250, 400, 1000], rtol=1e-6)
    assert decoded.index.tolist() == [3, 1, 4, 2]
    with pytest.raises(ConfigError, match="no probabilities"):
        task.proba(target)


@settings(deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=20).filter(lambda v: max(v) - min(v) > 1e-3))
def test_regression_comes_back(values):
    task = task_of(values, problem_type="regression")
    decoded = task.decode(task.encode(pd.DataFrame({"y": values})))
    np.testing.assert_allclose(decoded, values, atol=1e-5 * max(1.0, max(map(abs, values))))


# -- multilabel -----------------------------------------------------------------------------------


def test_label_columns_come_back_as_a_frame():
    frame = pd.DataFrame({"a": [1, 0, 1], "b": [True, False, False], "c": [0.0, 1.0, 1.0]}, index=list("xyz"))
    task = RowTarget.of(frame, ["a", "b", "c"])
    assert task.labels == ("a", "b", "c")
    target = task.encode(frame)
    assert target.dtype == np.float32
    again = RowTarget.from_dict(json.loads(json.dumps(task.to_dict())))
    assert again == task
    pd.testing.assert_frame_equal(again.decode(target * 2 - 1, frame.index), frame)
    assert list(task.proba(target).columns) == ["a", "b", "c"]


def test_a_column_of_lists_comes_back_as_lists():
    values = [["news", "sport"], [], ("art",), {"sport"}]
    frame = pd.DataFrame({"y": values})
    task = RowTarget.of(frame, "y")
    assert task.classes == ("art", "news", "sport")
    target = task.encode(frame)
    np.testing.assert_array_equal(target, [[0, 1, 1], [0, 0, 0], [1, 0, 0], [0, 0, 1]])
    assert task.decode(target * 2 - 1).tolist() == [["news", "sport"], [], ["art"], ["sport"]]
    with pytest.raises(LabelError, match="holds 'music', which training never saw, in 1 row: row 1"):
        task.encode(pd.DataFrame({"y": [["art"], ["music", "art"]]}))
    with pytest.raises(LabelError, match="Use \\[\\] for a row without labels"):
        task.encode(pd.DataFrame({"y": [["art"], None]}))


# -- probabilities --------------------------------------------------------------------------------


def test_probabilities_have_a_column_per_class():
    frame = pd.DataFrame({"y": [True, False, True]}, index=list("abc"))
    task = RowTarget.of(frame, "y")
    table = task.proba(np.array([[0.0, 0.0], [1000.0, -1000.0], [-1.0, 1.0]]), frame.index)
    np.testing.assert_allclose(table[True], [0.5, 0.0, 1 / (1 + math.exp(-2))])
    np.testing.assert_allclose(table.sum(axis=1), 1.0)
    assert table.index.tolist() == list("abc")
    labels = RowTarget.of(pd.DataFrame({"a": [0, 1], "b": [1, 0]}), ["a", "b"])
    np.testing.assert_allclose(labels.proba(np.array([[1000.0, -1000.0], [0.0, 0.0]])), [[1, 0], [0.5, 0.5]])


def test_outputs_that_are_not_finite_are_no_answer():
    task = task_of(["a", "b"])
    with pytest.raises(NonFiniteError, match="1 row: row 1"):
        task.decode(np.array([[0.0, 1.0], [np.nan, 0.0]]))
    with pytest.raises(ValueError, match=r"\(rows, 2\)"):
        task.decode(np.zeros((3, 1)))
    assert task.decode(np.zeros((0, 2))).empty


# -- faults ---------------------------------------------------------------------------------------


def test_options_that_do_not_exist():
    with pytest.raises(ConfigError, match=r"'binry'.*Did you mean 'binary'"):
        task_of([0, 1], problem_type="binry")
    with pytest.raises(ConfigError, match=r"'acuracy'.*Did you mean 'accuracy'"):
        task_of([0, 1], eval_metric="acuracy")
    with pytest.raises(ConfigError, match="'rmse' is for regression problems, and this one is binary"):
        task_of([0, 1], eval_metric="rmse")
    with pytest.raises(ConfigError, match="this one is multiclass"):
        task_of([0, 1, 2], problem_type="multiclass", eval_metric="f1")
    assert task_of([0, 1], eval_metric="acc").eval_metric == "accuracy"


def test_label_columns_that_are_not_there():
    frame = pd.DataFrame({"label": [0, 1], "x": [1, 2]})
    with pytest.raises(MissingColumnError, match=r"no label column 'lable'.*Did you mean 'label'"):
        RowTarget.of(frame, "lable")
    task = RowTarget.of(frame, "label")
    with pytest.raises(MissingColumnError, match="test_data has no label column 'label'"):
        task.encode(frame[["x"]], what="test_data")
    with pytest.raises(ConfigError, match="pass label='label'"):
        RowTarget.of(frame, ["label"])
    with pytest.raises(ConfigError, match="'x' more than once"):
        RowTarget.of(frame, ["x", "x"])
    with pytest.raises(ConfigError, match="not 3"):
        RowTarget.of(frame, 3)
    with pytest.raises(LabelError, match="2 columns named 'x'"):
        RowTarget.of(pd.DataFrame([[1, 2], [3, 4]], columns=["x", "x"]), "x")


FAULTS = [
    ([1], {}, "at least two rows; train_data has 1"),
    ([1, 1, 1], {}, "'y' is 1 in every row"),
    (["a", "a"], {}, "'y' is 'a' in every row"),
    (["a", None, "b", None], {}, r"missing in 2 of 4 rows: row 1, row 3.*dropna"),
    ([1.5, np.nan, 2.0], {}, "missing in 1 of 3 rows: row 1"),
    ([None, None], {}, "missing in every row"),
    ([1.5, np.inf, 2.0], {}, "infinite in 1 row: row 1: inf"),
    ([0.0, np.inf, 0.0], {}, "infinite: row 1"),
    (["a", "1", "2"], {"problem_type": "regression"}, "not numeric in 1 row: row 0: 'a'.*to_numeric"),
    ([2.5, 2.5], {"problem_type": "regression"}, "2.5 in every row"),
    (
        ["a", "b", "c"],
        {"problem_type": "binary"},
        r"has 3 classes: 'a', 'b', 'c'\. Use problem_type='multiclass'",
    ),
    (["a", "b"], {"problem_type": "multilabel"}, "holds no lists"),
    ([["a"], "b", ["c"]], {}, "list of names in every row, but 1 row does not: row 1: 'b'"),
    ([["a"], ["a"]], {}, "at least two are needed"),
    ([["a", "b"], ["a", "b"]], {}, "same names in every row"),
    ([["a"], ["b"]], {"problem_type": "binary"}, "holds lists"),
    ([1, "a", 2], {}, "mixes values of types 'int', 'str'"),
    (pd.to_datetime(["2020-01-01", "2020-01-02"]), {}, "dates or durations"),
    ([b"a", b"b", b"c"], {}, "cannot be classes"),
]


@pytest.mark.parametrize(("values", "options", "message"), FAULTS)
def test_labels_that_cannot_be_learned(values, options, message):
    with pytest.raises(LabelError, match=message):
        task_of(values, **options)


def test_label_columns_that_cannot_be_learned():
    frame = pd.DataFrame({"a": [0, 1, 2], "b": [1, 0, 1], "c": [1, 1, 1], "d": ["1", "0", "1"], "e": [1, None, 0]})
    with pytest.raises(LabelError, match=r"'a'.*else than 0 and 1 in 1 row: row 2: 2"):
        RowTarget.of(frame, ["a", "b"])
    with pytest.raises(LabelError, match=r"'d'.*row 0: '1'"):
        RowTarget.of(frame, ["d", "b"])
    with pytest.raises(LabelError, match="'e' is missing in 1 of 3"):
        RowTarget.of(frame, ["e", "b"])
    with pytest.raises(LabelError, match="one value only"):
        RowTarget.of(frame.assign(f=0), ["c", "f"])
    assert "the same in every row: 'c'" in RowTarget.of(frame, ["b", "c"]).reason
    with pytest.raises(ConfigError, match="multilabel problem, not regression"):
        RowTarget.of(frame, ["b", "c"], problem_type="regression")


def test_labels_that_training_never_saw():
    task = task_of(["cat", "dog", "cat"])
    frame = pd.DataFrame({"y": ["cat", "cow", "cow", "hen"]}, index=list("abcd"))
    with pytest.raises(
        LabelError, match=r"'cow', 'hen', which training never saw, in 3 rows: row 1 \(index 'b'\): 'cow'"
    ):
        task.encode(frame)
    with pytest.raises(LabelError, match=r"holds 'one', 'two'.*of type int"):
        task_of([0, 1]).encode(pd.DataFrame({"y": ["one", "two"]}))
    # the same value in another numeric dtype, or as text, is the same class
    assert task_of([0, 1]).encode(pd.DataFrame({"y": ["1", "0"]})).tolist() == [1, 0]
    assert task_of([0, 1]).encode(pd.DataFrame({"y": [1.0, 0.0]})).tolist() == [1, 0]


def test_frames_are_not_touched():
    frame = pd.DataFrame({"y": pd.Categorical(["a", "b"]), "z": [["a"], ["b"]]})
    before = frame.copy(deep=True)
    for label in ("y", "z"):
        RowTarget.of(frame, label).encode(frame)
    pd.testing.assert_frame_equal(frame, before)


def test_values_that_have_no_hash_are_named_too():
    odd = pd.Series([{"a": 1}, "b", "c"], dtype=object)
    with pytest.raises(LabelError, match=r"cannot be classes.*row 0"):
        task_of(odd)
    with pytest.raises(LabelError, match=r"never saw.*row 0"):
        task_of(["b", "c", "c"]).encode(pd.DataFrame({"y": odd}))
    with pytest.raises(LabelError, match=r"something else than names.*row 1"):
        task_of([["a"], [{}], ["b"]])
    with pytest.raises(LabelError, match=r"something else than names.*row 0"):
        task_of([[np.nan], ["b"], ["c"]])
    with pytest.raises(LabelError, match=r"never saw.*row 0"):
        task_of([["a"], ["b"]]).encode(pd.DataFrame({"y": [[{}], ["b"]]}))


@pytest.mark.parametrize("values", [[1e308, -1e308, 1e308], [0.0, 5e-324, 0.0]])
def test_targets_that_cannot_be_standardised(values):
    with pytest.raises(LabelError, match="cannot be standardised"):
        task_of(values, problem_type="regression")
