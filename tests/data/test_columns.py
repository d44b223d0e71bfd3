from __future__ import annotations

import datetime
import io
import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from thermocline.data.column_rules import different_in
from thermocline.data.column_values import numbers
from thermocline.data.columns import Column, Columns, infer_columns
from thermocline.errors import ColumnTypeError, ConfigError, MissingColumnError


def kind_of(values, **kwargs) -> Column:
    frame = pd.DataFrame({"x": values if isinstance(values, pd.Series) else pd.Series(values)})
    return infer_columns(frame, **kwargs)["x"]


def words(generator, vocabulary, length) -> str:
    return " ".join(f"w{n}" for n in generator.integers(vocabulary, size=length))


DTYPES = [
    ([1, 2, 3], "int64", "numeric"),
    ([1, 2, None], "Int64", "numeric"),
    ([1.5, 2.5, None], "Float64", "numeric"),
    ([1.5, 2.5, None], "float32", "numeric"),
    ([1, 2, None], "int32[pyarrow]", "numeric"),
    ([1.5, 2.0, None], "double[pyarrow]", "numeric"),
    ([True, False, True], "bool", "categorical"),
    ([True, False, None], "boolean", "categorical"),
    ([True, False, None], "bool[pyarrow]", "categorical"),
    ([True, False, None], "object", "categorical"),
    (["a", "b", None], "category", "categorical"),
    (["a", "b", None], "string", "categorical"),
    (["a", "b", None], "str", "categorical"),
    (["a", "b", None], "object", "categorical"),
    (["a", "b", None], "string[pyarrow]", "categorical"),
    ([1, 2.5, None], "object", "numeric"),
    (["2020-01-01", "2021-05-06", None], "datetime64[ns]", "numeric"),
    (["2020-01-01", "2021-05-06", None], "datetime64[s, UTC]", "numeric"),
    (["1 days", "36 hours", None], "timedelta64[ns]", "numeric"),
    ([1 + 2j, 3j, 0], "complex128", "null"),
]


@pytest.mark.parametrize(("values", "dtype", "kind"), DTYPES)
def test_every_dtype_has_a_kind_and_converts(values, dtype, kind):
    column = kind_of(pd.Series(values).astype(dtype))
    assert column.kind == kind
    assert column.reason
    if kind == "numeric":
        assert np.isfinite(numbers(pd.Series(values).astype(dtype), column)[:2]).all()


STRINGS = [
    (["1", "2.5", " -3e2 ", None], "numeric", "number as text"),
    (["1", "nan", "3"], "numeric", "number as text"),
    (["20850", "02139", "10001"], "categorical", "category"),  # a leading zero marks codes
    (["2020-01-01", "2021-12-31"], "numeric", "date:ISO8601"),
    (["2020-01-01T10:00:00", "2021-12-31 12:30:00+02:00"], "numeric", "date:ISO8601"),
    (["01/13/2020", "02/03/2021"], "numeric", "date:%m/%d/%Y"),
    (["13/01/2020", "02/03/2021"], "numeric", "date:%d/%m/%Y"),
    (["31.12.2020", "01.02.2021"], "numeric", "date:%d.%m.%Y"),
    (["01/13/2020 08:30", "02/03/2021 17:05"], "numeric", "date:%m/%d/%Y %H:%M"),
    (["a.png", "b.JPG", "dir/c.webp"], "image", "path"),
    (["http://x.org/a.png", "http://x.org/b.png"], "null", "images not read"),
    (["", " ", None], "null", ""),
    (["same", "same", None], "null", ""),
]


@pytest.mark.parametrize(("values", "kind", "form"), STRINGS)
def test_strings(values, kind, form):
    column = kind_of(values)
    assert (column.kind, column.form) == (kind, form)


def test_dates_that_may_be_day_or_month_first_are_not_guessed():
    column = kind_of(["01/02/2020", "03/04/2021", "05/06/2022"] * 3)
    assert column.kind == "categorical"
    assert "day or month first" in column.reason
    with pytest.raises(ColumnTypeError, match="day or month first"):
        kind_of(["01/02/2020", "03/04/2021"], column_types={"x": "numeric"})


def test_dates_as_python_objects():
    assert kind_of([datetime.date(2020, 1, 1), datetime.date(2020, 1, 3), None]).form == "date"
    assert kind_of([datetime.timedelta(1), datetime.timedelta(2)]).form == "duration"
    assert kind_of(pd.period_range("2020", periods=3, freq="M").to_series(index=range(3))).form == "date"


def test_images_as_bytes_and_as_pictures():
    buffer = io.BytesIO()
    Image.new("RGB", (2, 2)).save(buffer, "PNG")
    assert kind_of([buffer.getvalue(), None, buffer.getvalue()]).form == "bytes"
    assert kind_of([Image.new("L", (2, 2)), Image.new("L", (3, 3)), None]).form == "pil"
    column = kind_of([b"hello", b"world"])
    assert column.kind == "null"
    assert "0 of 2" in column.reason


def test_a_few_broken_names_do_not_turn_images_into_text():
    names = [f"{n}.png" for n in range(96)] + ["broken"] * 4
    assert kind_of(names).kind == "image"
    assert "96 of 100" in kind_of(names).reason
    assert kind_of([f"{n}.png" for n in range(90)] + [f"broken {n}" for n in range(10)]).kind == "text"


@pytest.mark.parametrize("values", [[[1], [2], [3]], [{"a": 1}, {}, None], [np.zeros(2), np.ones(2), None]])
def test_containers_are_not_used(values):
    column = kind_of(pd.Series(values, dtype=object))
    assert column.kind == "null"
    assert "objects" in column.reason


def test_constants_and_missing_columns_are_not_used():
    assert "every value is missing" in kind_of([None, None]).reason
    assert "constant: every value is 7" in kind_of([7, 7, 7]).reason
    assert kind_of([1.0, 1.0, np.nan]).kind == "null"


def test_mixed_numbers_and_strings_are_read_as_text():
    column = kind_of(pd.Series(["a", 1, 2.0, "b", "a"], dtype=object))
    assert column.kind == "categorical"
    assert "2 values that are no strings" in column.reason
    assert kind_of(pd.Series(["1", 2, 3.5], dtype=object)).form == "number as text"


def test_what_keeps_a_column_from_being_numeric_is_named():
    values = [f"{n / 7:.2f}" for n in range(99)] + ["1,234.5"]
    column = kind_of(values)
    assert column.kind == "text"
    assert column.reason.startswith("99 of 100 values are numbers, but not '1,234.5'; ")


def test_reasons_carry_counts():
    generator = np.random.default_rng(0)
    column = kind_of([words(generator, 500, 7) for _ in range(300)] + [None] * 5)
    assert column.kind == "text"
    assert column.missing == 5
    assert "50 rows hold about 50 different values (typically 7 words" in column.reason
    assert "3 values" in kind_of(["red", "green", "blue"] * 20).reason


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda g: words(g, 1000, 8), "text"),
        (lambda g: f"code {g.integers(5000)}", "text"),
        (lambda g: f"C{g.integers(2000)}", "text"),
        (lambda g: f"state{g.integers(50)}", "categorical"),
        (lambda g: f"team {g.integers(12)}", "categorical"),
        (lambda g: f"a sentence of {g.integers(8)} ways to say it", "categorical"),
        (lambda g: f"level{min(int(g.geometric(0.2)), 40)}", "categorical"),
        (lambda g: f"{g.integers(1, 29):02d}/{g.integers(1, 13):02d}/2020", "numeric"),
        (lambda g: f"{g.normal():.3f}", "numeric"),
    ],
)
def test_the_number_of_rows_changes_nothing(make, kind):
    generator = np.random.default_rng(1)
    values = [make(generator) for _ in range(5000)]
    for rows in (50, 200, 1000, 5000):
        assert kind_of(values[:rows]).kind == kind, rows


def test_different_in_is_the_average_over_draws():
    counts = np.array([30, 10, 5, 1, 1, 1])
    generator = np.random.default_rng(0)
    pool = np.repeat(np.arange(6), counts)
    drawn = [len(set(generator.choice(pool, 10, replace=False))) for _ in range(4000)]
    assert different_in(counts, 10) == pytest.approx(np.mean(drawn), abs=0.05)
    assert different_in(counts, int(counts.sum())) == 6


# -- given types ----------------------------------------------------------------------------------


def test_given_types_override():
    frame = pd.DataFrame({"code": [1, 2, 3], "word": ["x", "y", "z"], "file": ["a", "b", "c"], "no": [1, 2, 3]})
    types = {"code": "categorical", "word": "text", "file": "image", "no": "null"}
    columns = infer_columns(frame, column_types=types)
    assert [c.kind for c in columns] == list(types.values())
    assert {c.reason for c in columns} == {"given by column_types"}
    assert columns.used == ["code", "word", "file"]


def test_given_numeric_reads_numbers_dates_and_constants():
    assert kind_of(["1", "2"], column_types={"x": "numeric"}).form == "number as text"
    assert kind_of(["007", "008"], column_types={"x": "numeric"}).form == "number as text"
    assert kind_of([5, 5], column_types={"x": "numeric"}).form == "number"
    assert kind_of([True, False], column_types={"x": "numeric"}).form == "number"
    assert kind_of(["31/01/2020", "31/01/2020"], column_types={"x": "numeric"}).form == "date:%d/%m/%Y"


def test_given_types_that_cannot_be():
    frame = pd.DataFrame({"x": ["1", "abc", "def"], "n": [1, 2, 3], "l": [[1], [2], [3]]}, index=["p", "q", "r"])
    with pytest.raises(ColumnTypeError, match=r"'x'.*2 of 3.*row 1 \(index 'q'\): 'abc', row 2"):
        infer_columns(frame, column_types={"x": "numeric"})
    with pytest.raises(ColumnTypeError, match=r"'n'.*paths, bytes, PIL images or arrays"):
        infer_columns(frame, column_types={"n": "image"})
    with pytest.raises(ColumnTypeError, match=r"'l'.*plain values"):
        infer_columns(frame, column_types={"l": "text"})
    with pytest.raises(MissingColumnError, match="'y'"):
        infer_columns(frame, column_types={"y": "text"})
    with pytest.raises(ConfigError, match=r"'numerical'.*Did you mean 'numeric'"):
        infer_columns(frame, column_types={"x": "numerical"})
    with pytest.raises(ConfigError, match="label"):
        infer_columns(frame, exclude=["x"], column_types={"x": "text"})


# -- the table ------------------------------------------------------------------------------------


def test_columns_show_themselves_and_come_back():
    frame = pd.DataFrame({"a": [1, 2], "<b>": ["x", "y"], "y": [0, 1]})
    columns = infer_columns(frame, exclude=["y"])
    assert [c.name for c in columns] == ["a", "<b>"]
    assert columns.of("numeric") == ["a"]
    assert list(columns.to_frame().columns) == ["column", "type", "reason", "missing"]
    assert "numeric" in str(columns)
    assert "&lt;b&gt;" in columns._repr_html_()
    assert Columns.from_dict(json.loads(json.dumps(columns.to_dict()))) == columns
    with pytest.raises(ConfigError, match="Did you mean 'text'"):
        columns.of("texts")
    assert str(Columns(())) == "(no columns)"


def test_the_frame_is_not_touched():
    frame = pd.DataFrame({"a": ["1", None], "b": pd.Categorical(["x", "y"])})
    before = frame.copy(deep=True)
    infer_columns(frame)
    pd.testing.assert_frame_equal(frame, before)


cells = st.one_of(
    st.lists(st.integers(-5, 5), min_size=2, max_size=30),
    st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=2, max_size=30),
    st.lists(st.sampled_from(["red", "green", "1", "2020-01-01", "a.png", "a b c d e"]), min_size=2, max_size=30),
    st.lists(st.text(max_size=12), min_size=2, max_size=30),
    st.lists(st.booleans(), min_size=2, max_size=30),
    st.lists(st.dates(), min_size=2, max_size=30),
    st.lists(st.one_of(st.integers(), st.text(max_size=3), st.binary(max_size=3)), min_size=2, max_size=20),
)


@settings(max_examples=150, deadline=None)
@given(cells, st.randoms(use_true_random=False))
def test_order_and_missing_values_change_no_kind(values, random):
    first = kind_of(pd.Series(values, dtype=object))
    shuffled = random.sample(values, len(values))
    assert kind_of(pd.Series(shuffled, dtype=object)).kind == first.kind
    holes = [*shuffled, None, np.nan, pd.NA, ""]
    second = kind_of(pd.Series(holes, dtype=object))
    assert (second.kind, second.missing) == (first.kind, first.missing + 4)
    assert Columns.from_dict(json.loads(json.dumps(Columns((first,)).to_dict()))) == Columns((first,))
