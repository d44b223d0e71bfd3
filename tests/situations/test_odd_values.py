"""Values that no column should hold, and some do: halves of characters, huge numbers, periods, data as a label."""

from __future__ import annotations

from collections import UserDict
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from support.tiny import TINY, make_table
from thermocline import Predictor
from thermocline.data.values import well_formed
from thermocline.errors import ColumnTypeError, ConfigError, DataError, LabelError, ThermoclineWarning
from thermocline.problems.object_detection.boxes import read_boxes
from thermocline.problems.object_detection.options import BoxOptions
from thermocline.problems.rowwise.target import RowTarget

FAST = {**TINY, "optim.max_epochs": 1}
HALF, OTHER_HALF = "\ud83d", "\udca9"


def as_category(cells):
    """Categories as objects: pandas' own dtype of text cannot hold half a pair."""
    found = list(dict.fromkeys(cells))
    return pd.Categorical.from_codes([found.index(cell) for cell in cells], pd.Index(found, dtype=object))


def explain(frame, label="y", problem_type=None, **more):
    return Predictor(label, problem_type, verbosity=0).explain(frame, hyperparameters=FAST, **more)


# -- halves of surrogate pairs ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("plain", "plain"),
        ("日本 😀", "日本 😀"),
        (f"a{HALF}b", "a\ufffdb"),
        (OTHER_HALF, "\ufffd"),
        (HALF + OTHER_HALF, "💩"),
        (OTHER_HALF + HALF, "\ufffd\ufffd"),
        ("\udc80.png", "\ufffd.png"),
    ],
)
def test_half_a_pair_is_no_text(text, read):
    assert well_formed(text) == read


@pytest.mark.parametrize("dtype", [object, "category"])
def test_half_a_pair_in_a_category_is_replaced_and_said(dtype, tmp_path, caplog):
    caplog.set_level("INFO", "thermocline")
    frame = make_table(48)
    cells = frame["colour"].astype(object)
    cells[[3, 5, 7]] = f"odd{HALF}"
    frame["colour"] = as_category(cells) if dtype == "category" else cells
    predictor = Predictor("y", path=tmp_path / "model").fit(frame, hyperparameters=FAST)
    said = "column 'colour': 3 rows hold half a surrogate pair, which is no text; read as U+FFFD"
    assert f"train_data, {said}" in predictor.history["note"].tolist()
    loaded = Predictor.load(tmp_path / "model")
    assert loaded.predict(frame).equals(predictor.predict(frame))
    assert caplog.messages.count(said) == 2  # once for each model
    whole = frame.assign(colour=[str(value).replace(HALF, "\ufffd") for value in frame["colour"]])
    assert loaded.predict_proba(whole).equals(loaded.predict_proba(frame))


def test_half_a_pair_in_text_is_replaced_at_fit_and_predict(text_folder, reviews):
    reviews = reviews.astype({"review": object})
    reviews.loc[0, "review"] = f"a film {HALF} was"
    given = {**FAST, "model.text.checkpoint": str(text_folder)}
    predictor = Predictor("y", verbosity=0).fit(reviews, hyperparameters=given)
    assert predictor.history["note"].str.contains("column 'review': 1 row holds half a surrogate pair").any()
    cells = pd.DataFrame({"review": [f"a film {HALF} was", "a film \ufffd was", HALF, None]}, dtype=object)
    chances = predictor.predict_proba(cells).to_numpy()
    np.testing.assert_allclose(chances[0], chances[1], atol=1e-6)


@pytest.mark.parametrize("label", [["ok", f"b{HALF}"] * 24, [["a"], ["a", f"b{HALF}"]] * 24])
@pytest.mark.parametrize("dtype", [object, "category"])
def test_half_a_pair_in_a_class_is_an_error_before_training(label, dtype):
    if dtype == "category" and isinstance(label[0], list):
        return
    frame = make_table(48).assign(y=as_category(label) if dtype == "category" else pd.Series(label, dtype=object))
    with pytest.raises(LabelError, match=r"Label 'y' holds text with half a surrogate pair.*24 rows: row 1: .*ud83d"):
        explain(frame)


def test_half_a_pair_in_a_class_at_evaluation_and_in_boxes(fitted_table):
    with pytest.raises(LabelError, match=r"ud83d.*which training never saw"):
        fitted_table.evaluate(make_table().assign(y=pd.Series([HALF] * 60, dtype=object)))
    rois = pd.Series([[[0, 0, 4, 4, HALF]]], dtype=object)
    frame = pd.DataFrame({"pic": pd.Series([Image.new("RGB", (8, 8))], dtype=object), "rois": rois})
    boxes = read_boxes(frame, "rois", "pic", None, BoxOptions(), what="train_data")
    with pytest.raises(LabelError, match="class names with half a surrogate pair"):
        boxes.classes()


def test_half_a_pair_in_dicts(fitted_table):
    row = {"x": 0.5, "z": 0.1, "colour": f"red{HALF}"}
    others = [row, {**row, "colour": None}]
    alone, among = fitted_table.predict_proba(row), fitted_table.predict_proba(others)
    pd.testing.assert_frame_equal(alone, among.iloc[:1], rtol=0, atol=1e-6)
    with pytest.warns(ThermoclineWarning, match="none of its 5 values was seen"):
        assert len(fitted_table.predict({name: [value] * 5 for name, value in row.items()})) == 5


def test_half_a_pair_in_a_column_name():
    with pytest.raises(DataError, match=r"train_data has column names with half a surrogate pair.*ud83d"):
        explain(make_table().set_axis(pd.Index([HALF, "z", "colour", "y"], dtype=object), axis=1))


# -- huge numbers ----------------------------------------------------------------------------------

HUGE = [10**400, -(10**400), Decimal("1e400"), "1" + "0" * 400, f"-1{'0' * 400}"]


@pytest.mark.parametrize("huge", HUGE)
def test_a_huge_number_in_a_feature(huge, fitted_table):
    frame = make_table(48)
    cells = pd.Series(frame["x"], dtype=object)
    cells[3] = huge
    message = r"Column 'x' holds 1 infinite value: row 3: .*Replace them"
    with pytest.raises(DataError, match=message):
        explain(frame.assign(x=cells), column_types={"x": "numeric"})
    with pytest.raises(DataError, match=message):
        fitted_table.predict(frame.assign(x=cells))


@pytest.mark.parametrize("huge", HUGE)
def test_a_huge_number_in_a_regression_label(huge, make_predictor):
    frame = make_table(48)
    cells = pd.Series(frame["x"], dtype=object)
    cells[3] = huge
    with pytest.raises(LabelError, match=r"Label 'y' is infinite in 1 row: row 3"):
        explain(frame.assign(y=cells), problem_type="regression")


def test_huge_numbers_can_be_classes():
    target = RowTarget.of(pd.DataFrame({"y": [10**400, 5, -(10**400), 5] * 9}), "y", "multiclass")
    assert target.classes == (-(10**400), 5, 10**400)
    assert RowTarget.from_dict(target.to_dict()).encode(pd.DataFrame({"y": ["5", 10**400]})).tolist() == [1, 2]


# -- periods, intervals, moments -------------------------------------------------------------------

MOMENTS = {
    "periods": pd.Series(pd.period_range("2020-01", periods=3, freq="M").tolist() * 16),
    "intervals": pd.Series(pd.cut(np.arange(48), 3)),
    "interval dtype": pd.Series(pd.cut(np.arange(48), 3)).astype(pd.IntervalDtype(np.float64)),
    "timestamps": pd.Series(pd.date_range("2020", periods=3).tolist() * 16, dtype=object),
    "timedeltas": pd.Series([pd.Timedelta(days=d) for d in (1, 2, 3)] * 16, dtype=object),
    "moments of categories": pd.Series(pd.date_range("2020", periods=3).tolist() * 16).astype("category"),
    "bytes": pd.Series([b"a", b"b", b"c"] * 16, dtype=object),
}


@pytest.mark.parametrize("problem_type", [None, "multiclass"])
@pytest.mark.parametrize("kind", MOMENTS)
def test_labels_that_are_no_plain_values_name_the_way_out(kind, problem_type):
    frame = make_table(48).assign(y=MOMENTS[kind])
    with pytest.raises(LabelError, match=r"row 0: .*`frame\['y'\]\.astype\(str\)`"):
        explain(frame, problem_type=problem_type)
    explain(frame.assign(y=frame["y"].astype(str)))


@pytest.mark.parametrize("problem_type", [None, "multiclass"])
def test_dates_name_theirs(problem_type):
    with pytest.raises(LabelError, match="holds dates or durations"):
        explain(make_table(48).assign(y=pd.date_range("2020", periods=48)), problem_type=problem_type)


# -- data in place of a name -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (make_table(), "not a DataFrame. Name the column, and pass the data to fit"),
        ({"y": [1, 2]}, "not a dict. Name the column"),
        (UserDict(y=[1]), "not a UserDict. Name the column"),
        (make_table()["y"], r"not a Series of values\. .*Predictor\('y'\)\.fit"),
        (make_table()["x"].to_numpy(), r"not a ndarray of values"),
        ([0, 1] * 30, "not a list of values"),
        ([0, 1], r"not \[0, 1\]"),
        (3, r"not 3\."),
        (None, r"not None\."),
        ({"a", "b"}, "not {'"),
        (iter(["a", "b"]), "not <"),
        (b"y", "not b'y'"),
        ([], r"not \[\]"),
    ],
)
def test_data_as_a_label_is_an_error(label, message):
    with pytest.raises(ConfigError, match=f"label is a column name or a list of column names, {message}"):
        Predictor(label)


def test_names_of_columns_may_be_of_pandas_or_numpy():
    frame = pd.DataFrame(columns=["a", "b"])
    for names in (frame.columns, frame.columns.to_numpy(), ("a", "b")):
        assert Predictor(names).label == ["a", "b"]


def test_a_value_that_is_no_number_is_still_named(fitted_table):
    with pytest.raises(ColumnTypeError, match="Column 'x' is numeric, but 1 value is no number"):
        fitted_table.predict(make_table(4).astype({"x": object}).assign(x=[1.0, 2.0, f"3{HALF}", 4.0]))
