"""Numbers and categories become arrays that say the same at fitting and at prediction."""

import json

import numpy as np
import pandas as pd
import pytest

from thermocline.data.columns import Columns, infer_columns
from thermocline.errors import ColumnTypeError
from thermocline.inputs.table.processor import CLIP, TableProcessor


def frame(n=200, seed=0):
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "size": rng.normal(10, 2, n),
            "count": rng.integers(0, 50, n),
            "kind": rng.choice(["a", "b", "c"], n, p=[0.6, 0.3, 0.1]),
        }
    )


def processor(data, *, types=None, max_categories=10):
    return TableProcessor.fit(data, infer_columns(data, column_types=types), max_categories=max_categories)


def test_numbers_are_centred_on_the_median_and_scaled_by_the_spread():
    data = frame(2000)
    rows = processor(data).rows(data)
    assert rows.numbers.dtype == np.float32
    np.testing.assert_allclose(np.median(rows.numbers, axis=0), 0, atol=1e-6)
    assert rows.numbers[:, 0].std() == pytest.approx(0.9, abs=0.1)  # a little below 1: extremes are bent inwards


def test_missing_numbers_are_the_median_and_flagged():
    data = frame()
    data.loc[[3, 7], "size"] = np.nan
    rows = processor(data).rows(data)
    assert rows.numbers[3, 0] == rows.numbers[7, 0] == 0
    assert np.flatnonzero(rows.missing[:, 0]).tolist() == [3, 7]
    assert not rows.missing[:, 1].any()


def test_extremes_are_bent_to_a_bound_not_dropped():
    data = frame()
    made = processor(data)
    wild = data.iloc[:2].assign(size=[1e30, -1e30])
    np.testing.assert_allclose(made.rows(wild).numbers[:, 0], [CLIP, -CLIP], rtol=1e-6)


@pytest.mark.parametrize("values", [[5.0] * 20, [np.nan] * 20, [5.0] * 19 + [np.nan], [0.0] * 19 + [1.0]])
def test_columns_without_spread_stay_finite(values):
    data = pd.DataFrame({"x": values, "y": np.arange(20.0)})
    rows = processor(data, types={"x": "numeric"}).rows(data)
    assert np.isfinite(rows.numbers).all()


def test_unknown_missing_and_rare_categories_share_code_0():
    data = frame()
    made = processor(data, max_categories=2)
    assert made.vocabularies == (("a", "b"),)
    assert made.cardinalities == [3]
    new = pd.DataFrame({"size": 1.0, "count": 1, "kind": ["a", "b", "c", "new", None]})
    assert made.rows(new).codes[:, 0].tolist() == [1, 2, 0, 0, 0]


def test_codes_do_not_depend_on_the_order_of_rows():
    data = frame()
    assert processor(data).vocabularies == processor(data.sample(frac=1, random_state=3)).vocabularies


def test_a_category_means_the_same_as_number_text_or_pandas_category():
    """A CSV read back may hold 1 where the frame held "1", or a categorical dtype."""
    data = pd.DataFrame({"k": pd.Categorical(["1", "2", "2", "1"] * 5), "x": np.arange(20.0)})
    made = processor(data, types={"k": "categorical"})
    for values in (["1", "2"], [1, 2], pd.Series([1, 2], dtype="Int64")):
        new = pd.DataFrame({"k": values, "x": [0.0, 0.0]})
        assert made.rows(new).codes[:, 0].tolist() == [1, 2]


def test_an_unparsable_number_names_the_column():
    data = frame()
    with pytest.raises(ColumnTypeError, match="size"):
        processor(data).rows(data.assign(size="much"))


def test_json_round_trip():
    data = frame()
    made = processor(data)
    again = TableProcessor.from_dict(json.loads(json.dumps(made.to_dict())))
    assert again == made
    a, b = made.rows(data), again.rows(data)
    np.testing.assert_array_equal(a.numbers, b.numbers)
    np.testing.assert_array_equal(a.codes, b.codes)


def test_batches_take_rows_by_position_whatever_the_index():
    data = frame().set_index(pd.Index(range(1000, 1200)))
    rows = processor(data).rows(data)
    part = rows.batch(np.array([5, 2]))
    np.testing.assert_array_equal(part["codes"], rows.codes[[5, 2]])
    assert len(rows) == 200


def test_only_numeric_and_categorical_columns_are_taken():
    data = frame()
    made = TableProcessor.fit(data, Columns(()), max_categories=5)
    assert made.rows(data).numbers.shape == (200, 0)


def test_the_frame_is_not_written_to():
    data = frame()
    before = data.copy(deep=True)
    processor(data).rows(data)
    pd.testing.assert_frame_equal(data, before)
