"""Labels that cannot be learned from: told before anything is loaded, with column, rows and a way on."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from support.tiny import make_table, told
from thermocline.errors import ConfigError, DataError, LabelError, MissingColumnError

pytestmark = pytest.mark.usefixtures("no_loading")


def with_label(values) -> pd.DataFrame:
    return make_table(len(values)).assign(y=values)


def test_absent(make_predictor, table):
    message = told(MissingColumnError, KeyError, lambda: make_predictor("colur").fit(table))
    assert "train_data has no label column 'colur'" in message
    assert "Did you mean 'colour'?" in message
    assert "It has 'x', 'z', 'colour', 'y'" in message


def test_absent_from_a_list(make_predictor, table):
    message = told(MissingColumnError, KeyError, lambda: make_predictor(["y", "w"]).fit(table))
    assert "'w'" in message


@pytest.mark.parametrize("label", [5, None, ["y", 3], [], ["y"], ["x", "x"]])
def test_no_label_name(make_predictor, label):
    message = told(ConfigError, ValueError, lambda: make_predictor(label))
    assert "label" in message
    assert repr(label)[1:-1].split(",")[0] in message


def test_all_one_class(make_predictor):
    message = told(LabelError, ValueError, lambda: make_predictor().fit(with_label(["yes"] * 12)))
    assert "Label 'y' is 'yes' in every row" in message
    assert "At least two classes are needed" in message


def test_all_one_number(make_predictor):
    frame = with_label([2.5] * 12)
    message = told(LabelError, ValueError, lambda: make_predictor("y", "regression").fit(frame))
    assert "Label 'y' is 2.5 in every row" in message


def test_some_missing(make_predictor):
    frame = with_label(["yes", "no", None, "yes", None, "no"])
    frame.index = list("abcdef")
    message = told(LabelError, ValueError, lambda: make_predictor().fit(frame))
    assert "Label 'y' is missing in 2 of 6 rows" in message
    assert "row 2 (index 'c'), row 4 (index 'e')" in message
    assert "frame.dropna(subset=['y'])" in message


def test_some_numbers_missing(make_predictor):
    frame = with_label([0.5, np.nan, 1.5, 2.5, 3.5])
    message = told(LabelError, ValueError, lambda: make_predictor().fit(frame))
    assert "Label 'y' is missing in 1 of 5 rows: row 1." in message


def test_all_missing(make_predictor):
    message = told(LabelError, ValueError, lambda: make_predictor().fit(with_label([None] * 5)))
    assert "Label 'y' is missing in every row" in message


def test_infinite(make_predictor):
    frame = with_label([0.5, 1.5, np.inf, 2.5, -np.inf])
    message = told(DataError, ValueError, lambda: make_predictor().fit(frame))
    assert "'y'" in message
    assert "2 infinite values" in message
    assert "row 2: inf, row 4: -inf" in message


def test_words_for_a_regression(make_predictor):
    frame = with_label(["1", "2", "three", "4"])
    message = told(LabelError, ValueError, lambda: make_predictor("y", "regression").fit(frame))
    assert "'y' of a regression is not numeric" in message
    assert "pd.to_numeric" in message


def test_three_classes_for_binary(make_predictor):
    frame = with_label(list("abcabc"))
    message = told(LabelError, ValueError, lambda: make_predictor("y", "binary").fit(frame))
    assert "has 3 classes: 'a', 'b', 'c'" in message
    assert "problem_type='multiclass'" in message


def test_no_lists_for_multilabel(make_predictor, table):
    message = told(LabelError, ValueError, lambda: make_predictor("y", "multilabel").fit(table))
    assert "'y' holds no lists" in message


def test_multilabel_columns_beyond_zero_and_one(make_predictor):
    frame = make_table(6).assign(a=[0, 1, 0, 1, 0, 1], b=[0, 1, 2, 0, 1, 3])
    message = told(LabelError, ValueError, lambda: make_predictor(["a", "b"]).fit(frame))
    assert "'b'" in message
    assert "row 2: 2, row 5: 3" in message


def test_dates(make_predictor):
    frame = with_label(pd.date_range("2020-01-01", periods=6))
    message = told(LabelError, ValueError, lambda: make_predictor().fit(frame))
    assert "'y' holds dates" in message


def test_mixed_types(make_predictor):
    frame = with_label(pd.Series([1, "1", 2, "2", 1, "1"], dtype=object))
    message = told(LabelError, ValueError, lambda: make_predictor().fit(frame))
    assert "mixes values of types 'int', 'str'" in message
    assert ".astype(str)" in message


def test_unseen_in_tuning_data(make_predictor, table):
    held = make_table(8, seed=1)
    held.loc[3, "y"] = "maybe"
    message = told(LabelError, ValueError, lambda: make_predictor().fit(table, held))
    assert "Label 'y' holds 'maybe', which training never saw" in message
    assert "row 3: 'maybe'" in message
    assert "Known: 'no', 'yes'" in message


def test_absent_from_tuning_data(make_predictor, table):
    message = told(MissingColumnError, KeyError, lambda: make_predictor().fit(table, table.drop(columns="y")))
    assert "tuning_data lacks the column 'y'" in message


# -- sample weights --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([-1.0, 1.0, 1.0, 1.0], "row 0: -1.0"),
        ([1.0, np.nan, 1.0, 1.0], "row 1: nan"),
        ([0.0, 0.0, 0.0, 0.0], "are 0. At least one row must count"),
        (["a", "b", "c", "d"], "not numbers. Convert them"),
    ],
)
def test_weights(make_predictor, values, said):
    frame = make_table(4).assign(y=["a", "b", "a", "b"], w=values)
    message = told(DataError, ValueError, lambda: make_predictor(sample_weight="w").fit(frame))
    assert "'w'" in message
    assert said in message


def test_weight_absent(make_predictor, table):
    message = told(MissingColumnError, KeyError, lambda: make_predictor(sample_weight="w").fit(table))
    assert "train_data (sample_weight) lacks the column 'w'" in message


def test_weight_is_the_label(make_predictor, table):
    message = told(ConfigError, ValueError, lambda: make_predictor(sample_weight="y").fit(table))
    assert "sample_weight 'y' is the label" in message
