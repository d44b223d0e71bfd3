"""Tables that are not pandas mean what the same rows in a DataFrame mean."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pandas as pd
import pytest

from support.tiny import TINY, make_table
from thermocline import Predictor
from thermocline.data.frames import read_frame
from thermocline.data.tables import as_frame
from thermocline.errors import DataError, LabelError, MissingDependencyError

pa = pytest.importorskip("pyarrow")


class Stream:
    """What polars, DuckDB and others have in common: nothing but Arrow's interface."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self._table = pa.Table.from_pandas(frame, preserve_index=False)

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return self._table.__arrow_c_stream__(requested_schema)


class Converted:
    """What `datasets` and others have: a method."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self._frame = frame

    def to_pandas(self) -> pd.DataFrame:
        return self._frame


KINDS = {
    "arrow table": lambda frame: pa.Table.from_pandas(frame, preserve_index=False),
    "arrow interface": Stream,
    "to_pandas": Converted,
    "dict of columns": lambda frame: frame.to_dict("list"),
    "dict of arrays": lambda frame: {name: frame[name].to_numpy() for name in frame},
    "list of dicts": lambda frame: frame.to_dict("records"),
    "tuple of dicts": lambda frame: tuple(frame.to_dict("records")),
}


@pytest.fixture(scope="module")
def fitted():
    frame = make_table(40)
    predictor = Predictor("y", verbosity=0).fit(frame, hyperparameters={**TINY, "optim.max_epochs": 1})
    return predictor, frame


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
def test_a_fit_on_the_same_rows_gives_the_same_bits(fitted, make):
    predictor, frame = fitted
    before = frame.copy()
    other = Predictor("y", verbosity=0).fit(make(frame), hyperparameters={**TINY, "optim.max_epochs": 1})
    assert other.columns == predictor.columns
    expected = predictor.predict_proba(frame)
    pd.testing.assert_frame_equal(other.predict_proba(make(frame)), expected, check_exact=True)
    assert other.evaluate(make(frame)) == predictor.evaluate(frame)
    assert np.array_equal(other.embed(make(frame)), predictor.embed(frame))
    pd.testing.assert_frame_equal(frame, before)


def test_one_row_as_a_dict(fitted):
    predictor, frame = fitted
    row = frame.drop(columns="y").iloc[3].to_dict()
    alone = predictor.predict_proba(row)
    assert len(alone) == 1
    np.testing.assert_allclose(alone.to_numpy(), predictor.predict_proba(frame.iloc[[3]]).to_numpy())
    assert predictor.predict([row, row]).tolist() == predictor.predict(frame.iloc[[3, 3]]).tolist()


def test_rows_that_lack_a_value_lack_it():
    frame = as_frame([{"a": 1, "b": "x"}, {"b": "y"}])
    assert frame["a"].isna().tolist() == [False, True]


def test_arrow_dtypes_are_those_of_pandas():
    table = pa.table(
        {
            "whole": pa.array([1, None, 3]),
            "text": pa.array(["a", None, "c"]),
            "kind": pa.array(["x", "y", "x"]).dictionary_encode(),
            "day": pa.array([0, 1, None], pa.date32()),
            "bytes": pa.array([b"1", None, b"3"]),
        }
    )
    frame = as_frame(table)
    assert frame["whole"].dtype == np.float64
    assert frame["text"].tolist()[::2] == ["a", "c"]
    assert isinstance(frame["kind"].dtype, pd.CategoricalDtype)
    assert frame.isna().sum().tolist() == [1, 1, 0, 1, 1]


def test_a_frame_of_pandas_is_handed_on_as_it_is():
    frame = make_table(4)
    found, folder = read_frame(frame)
    assert found is frame
    assert folder is None


class Lazy:
    def collect(self) -> None: ...


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (make_table(4).iloc[0], "frame.iloc[[0]]"),
        (make_table(4)["x"], "series.to_frame()"),
        (np.zeros((3, 2)), "numpy.ndarray. Columns need names: pass `pd.DataFrame(values, columns=[...])`."),
        ([[1, 2], [3, 4]], "Columns need names"),
        ([], "not list"),
        ((row for row in [{"x": 1, "y": 2}]), "pass `list(rows)`, one dict a row"),
        ([make_table(4), make_table(4)], "pd.concat(frames, ignore_index=True)"),
        (["a.csv", "b.csv"], "pd.concat(map(pd.read_csv, paths), ignore_index=True)"),
        (make_table(4).groupby("y"), "Pass the frame that was grouped"),
        (io.StringIO("x,y"), "Pass the path of the file"),
        (b"rows.csv", "Pass a path as text"),
        ([{"a": 1}, 2], "not list"),
        (Lazy(), "Pass `frame.collect()`."),
        (pa.chunked_array([[1, 2]]), "It is one column; pass the table."),
        (None, "not NoneType"),
        (pd.DataFrame, "not type"),
        (7, "a dict of columns, a list of dicts"),
        ({"a": [1, 2], "b": [1]}, "The dict cannot be made a table"),
    ],
)
def test_what_is_no_table(data, words):
    with pytest.raises(DataError) as error:
        Predictor("y", verbosity=0).fit(data)
    assert words in str(error.value)


@pytest.mark.parametrize("data", [{}, {"y": []}])
def test_empty_dicts(data):
    with pytest.raises((DataError, LabelError)):
        Predictor("y", verbosity=0).fit(data)


def test_without_pyarrow_the_extra_is_named(monkeypatch):
    def missing(*_):
        raise ImportError("pyarrow")

    monkeypatch.setattr(pd.DataFrame, "from_arrow", missing)
    with pytest.raises(MissingDependencyError, match=r"pip install 'thermocline\[parquet\]'"):
        as_frame(Stream(make_table(4)))
