from __future__ import annotations

import datetime
import sys
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thermocline.data.column_values import categories, numbers, texts
from thermocline.data.columns import Column, infer_columns
from thermocline.data.frames import check_columns, check_frame, read_frame
from thermocline.data.values import stable_text
from thermocline.errors import ColumnTypeError, DataError, MissingColumnError, MissingDependencyError

NUMBER = Column("x", "numeric", form="number")
CATEGORY = Column("x", "categorical", form="category")
TEXT = Column("x", "text", form="text")


# -- reading --------------------------------------------------------------------------------------


def test_a_frame_is_handed_back_as_it_is():
    frame = pd.DataFrame({"a": [1]})
    assert read_frame(frame)[0] is frame
    assert read_frame(frame)[1] is None


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.csv.gz", "a.parquet", "A.CSV"])
def test_files_come_with_their_folder(tmp_path, name):
    frame = pd.DataFrame({"a": [1, 2], "b": ["x", None]})
    if "parquet" in name:
        frame.to_parquet(tmp_path / name)
    else:
        frame.to_csv(tmp_path / name, index=False, sep="\t" if "tsv" in name else ",")
    read, folder = read_frame(str(tmp_path / name))
    assert read["a"].tolist() == [1, 2]
    assert read["b"].isna().tolist() == [False, True]
    assert folder == tmp_path.resolve()


def test_files_that_cannot_be_read(tmp_path, monkeypatch):
    (tmp_path / "train.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match=r"does not exist.*Did you mean 'train.csv'"):
        read_frame(tmp_path / "trian.csv")
    (tmp_path / "f.csv").mkdir()
    with pytest.raises(DataError, match="is a folder"):
        read_frame(tmp_path / "f.csv")
    with pytest.raises(DataError, match=r"'\.xlsx' is none of \.csv"):
        read_frame(tmp_path / "a.xlsx")
    with pytest.raises(DataError, match=r"to_frame\(\)"):
        read_frame(pd.Series([1]))
    with pytest.raises(DataError, match="not int"):
        read_frame(7)
    for text, message in [
        ("", "is empty"),
        ("a,a\n1,2\n", "named 'a'"),
        ("a,b\n1,2\n1,2,3,4\n", "read as a table"),
        ("a,b\n1,2,3\n1,2,3\n", "read as a table"),
    ]:
        (tmp_path / "b.csv").write_text(text)
        with pytest.raises(DataError, match=message):
            read_frame(tmp_path / "b.csv")
    (tmp_path / "c.csv").write_bytes("a\né\n".encode("latin-1"))
    with pytest.raises(DataError, match="not UTF-8"):
        read_frame(tmp_path / "c.csv")
    (tmp_path / "d.parquet").write_text("no")
    with pytest.raises(DataError, match="as parquet"):
        read_frame(tmp_path / "d.parquet")

    def no_engine(path):
        raise ImportError("no pyarrow")

    monkeypatch.setattr(pd, "read_parquet", no_engine)
    with pytest.raises(MissingDependencyError, match=r"thermocline\[parquet\]"):
        read_frame(tmp_path / "d.parquet")


# -- checking -------------------------------------------------------------------------------------


def test_frames_that_cannot_be_used():
    with pytest.raises(DataError, match="tuning_data has no rows"):
        check_frame(pd.DataFrame({"a": []}), what="tuning_data")
    with pytest.raises(DataError, match="no columns"):
        check_frame(pd.DataFrame(index=[1]))
    with pytest.raises(DataError, match="not text: 0, 1"):
        check_frame(pd.DataFrame([[1, 2]]))
    with pytest.raises(DataError, match="more than one column named 'a'"):
        check_frame(pd.DataFrame([[1, 2, 3]], columns=["a", "b", "a"]))
    for dtype in ("float64", "Float64", "double[pyarrow]"):
        frame = pd.DataFrame({"a": pd.Series([1.0, np.inf, 2.0, -np.inf], index=list("pqrs")).astype(dtype)})
        with pytest.raises(DataError, match=r"'a' holds 2 infinite values: row 1 \(index 'q'\): inf, row 3"):
            check_frame(frame)
    check_frame(pd.DataFrame({"a": [1.0, np.nan], "b": ["x", None]}))


def test_columns_that_are_not_there():
    frame = pd.DataFrame({"alpha": [1], "beta": [2]})
    check_columns(frame, ["alpha"])
    with pytest.raises(MissingColumnError, match=r"lacks the columns 'alhpa', 'zzz'.*Did you mean 'alpha'") as caught:
        check_columns(frame, ["alhpa", "zzz", "beta"])
    assert isinstance(caught.value, KeyError)


# -- converting -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "series",
    [
        pd.Series([1.5, np.nan, 3]),
        pd.Series([1.5, None, 3], dtype="Float64"),
        pd.Series(["1.5", "", "3"]),
        pd.Series([" 1.5", "NaN", "+3"], dtype=object),
        pd.Series([Decimal("1.5"), None, 3], dtype=object),
        pd.Series(["1.5", None, "3.0"], dtype="category"),
        pd.Series([1.5, None, 3], dtype="double[pyarrow]"),
    ],
)
def test_numbers_however_they_are_written(series):
    np.testing.assert_array_equal(numbers(series, NUMBER), [1.5, np.nan, 3.0])
    assert numbers(series, NUMBER).dtype == np.float64


def test_numbers_name_what_they_cannot_read():
    series = pd.Series(["1", "two", "3", "four"], index=[10, 11, 12, 13])
    with pytest.raises(ColumnTypeError, match=r"'x'.*2 values.*row 1 \(index 11\): 'two', row 3"):
        numbers(series, NUMBER)
    with pytest.raises(DataError, match="infinite"):
        numbers(pd.Series([1.0, np.inf]), NUMBER)
    with pytest.raises(ColumnTypeError, match="1 value is no number"):
        numbers(pd.Series(pd.to_datetime(["2020-01-01"])), NUMBER)
    with pytest.raises(ColumnTypeError, match="1 value is no date"):
        numbers(pd.Series([5.0]), Column("x", "numeric", form="date:%m/%d/%Y"))
    with pytest.raises(ColumnTypeError, match=r"%m/%d/%Y.*'31/01/2020'"):
        numbers(pd.Series(["01/31/2020", "31/01/2020"]), Column("x", "numeric", form="date:%m/%d/%Y"))
    with pytest.raises(ColumnTypeError, match="1 value is no number"):
        numbers(pd.Series([[1], 2], dtype=object), NUMBER)


def test_dates_are_days_since_1970_in_every_dress():
    expected = [0.0, 1.5, np.nan]
    written = ["1970-01-01", "1970-01-02 12:00:00", None]
    stamps = pd.Series(pd.to_datetime(pd.Series(written), format="ISO8601"))
    dresses = [
        pd.Series(written),
        stamps,
        stamps.astype("datetime64[s]"),
        stamps.dt.tz_localize("UTC"),
        stamps.dt.tz_localize("UTC").dt.tz_convert("Asia/Tokyo"),
        stamps.astype(object),
        stamps.astype("timestamp[us][pyarrow]"),
    ]
    for series in dresses:
        for form in ("date", "date:ISO8601"):
            np.testing.assert_array_equal(numbers(series, Column("x", "numeric", form=form)), expected)
    days = pd.Series([datetime.date(1970, 1, 1), datetime.date(1970, 1, 3), None], dtype=object)
    np.testing.assert_array_equal(numbers(days, infer_columns(pd.DataFrame({"x": days}))["x"]), [0, 2, np.nan])
    spans = pd.Series(pd.to_timedelta(["1 day", "36 hours", None]))
    np.testing.assert_array_equal(numbers(spans, infer_columns(pd.DataFrame({"x": spans}))["x"]), [1, 1.5, np.nan])


def test_an_all_missing_column_is_missing_whatever_its_dtype():
    for dtype in ("float64", "object", "str", "Int64", "datetime64[ns]", "category"):
        series = pd.Series([None, None], dtype=dtype)
        for form in ("number", "number as text", "date", "date:%m/%d/%Y"):
            if dtype == "datetime64[ns]" and not form.startswith("date"):
                continue
            assert np.isnan(numbers(series, Column("x", "numeric", form=form))).all()
        assert texts(series, TEXT) == [None, None]


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([1, 2, 1], "int64"),
        ([1, 2, 1], "float64"),
        ([1, 2, 1], "Int64"),
        ([1, 2, 1], "category"),
        ([1, 2, 1], "object"),
        ([1, 2, 1], "int8[pyarrow]"),
        (["1", "2", " 1 "], "str"),
        (["1", "2", "1"], "string[pyarrow]"),
    ],
)
def test_categories_are_one_text_in_every_dtype(values, dtype):
    assert categories(pd.Series(values).astype(dtype), CATEGORY).tolist() == ["1", "2", "1"]


def test_categories_and_texts_of_missing_values_and_odd_ones():
    assert categories(pd.Series([True, None, False], dtype="boolean"), CATEGORY).tolist() == [
        "True",
        None,
        "False",
    ]
    assert categories(pd.Series([True, np.nan], dtype=object), CATEGORY).tolist() == ["True", None]
    assert categories(pd.Series([0.5, np.nan, 2.0]), CATEGORY).tolist() == ["0.5", None, "2"]
    assert texts(pd.Series(["a  b ", " ", None, "c"]), TEXT) == ["a  b ", None, None, "c"]
    assert texts(pd.Series([1, 2.5], dtype=object), TEXT) == ["1", "2.5"]
    with pytest.raises(ColumnTypeError, match=r"'x'.*row 1: \[1\]"):
        texts(pd.Series(["a", [1]], dtype=object), TEXT)
    with pytest.raises(ColumnTypeError, match="1 row holds"):
        categories(pd.Series(["a", b"b"], dtype=object), CATEGORY)


@given(st.one_of(st.integers(-(2**53) + 1, 2**53 - 1), st.booleans(), st.floats(allow_nan=False)))
def test_stable_text_tells_values_apart_and_types_not(value):
    text = stable_text(value)
    assert text == stable_text(np.array([value])[0])
    if not isinstance(value, bool) and abs(value) < 2**53:
        assert text == stable_text(float(value))
        assert float(text) == value


def test_reading_frames_and_labels_needs_no_torch():
    import subprocess

    modules = "thermocline.data.samples, thermocline.data.columns, thermocline.problems.rowwise.target"
    code = f"import sys, {modules}; print({{'torch', 'sklearn', 'scipy'}} & set(sys.modules))"
    found = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(Path(__file__).parents[2] / "src")},
    )
    assert found.stdout.strip() == "set()"
