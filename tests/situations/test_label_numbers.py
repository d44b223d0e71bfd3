"""Labels that are numbers of another dtype: judged by their values, as features are."""

from __future__ import annotations

import json
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from support.tiny import TINY, make_table
from thermocline import Predictor
from thermocline.errors import LabelError
from thermocline.problems.rowwise.target import RowTarget

PRICES = np.random.default_rng(0).normal(50, 20, 40).round(2)
COUNTS = np.random.default_rng(1).integers(1000, 99_999, 40)
LARGE = (COUNTS * 1.5).round(2)


def swapped(texts):
    """Commas and dots exchanged."""
    return [text.translate(str.maketrans(",.", ".,")) for text in texts]


def target_of(values, **given):
    return RowTarget.of(pd.DataFrame({"y": values}), "y", **given)


WRITTEN = {
    "floats as objects": (pd.Series(PRICES, dtype=object), PRICES),
    "numpy scalars": (pd.Series([np.float32(v) for v in PRICES], dtype=object), PRICES),
    "decimals": ([Decimal(str(v)) for v in PRICES], PRICES),
    "fractions": ([Fraction(int(v), 4) for v in COUNTS], COUNTS / 4),
    "arrow decimals": (
        pd.Series([Decimal(str(v)) for v in PRICES], dtype=pd.ArrowDtype(pa.decimal128(10, 2))),
        PRICES,
    ),
    "text": ([f"{v:.2f}" for v in PRICES], PRICES),
    "string": (pd.Series([f" {v:.2f}" for v in PRICES], dtype="string"), PRICES),
    "arrow text": (pd.Series([f"{v:.2f}" for v in PRICES], dtype=pd.ArrowDtype(pa.string())), PRICES),
    "numbers and text": (pd.Series([v if v > 50 else str(v) for v in PRICES], dtype=object), PRICES),
    "whole numbers as text": ([str(v) for v in COUNTS], COUNTS),
    "exponents": ([f"{v:e}" for v in COUNTS], COUNTS),
    "dollars": ([f"${v:.2f}" for v in PRICES], PRICES),
    "minus before dollars": ([f"-${v:.2f}" for v in np.abs(PRICES)], -np.abs(PRICES)),
    "minus behind dollars": ([f"$-{v:.2f}" for v in np.abs(PRICES)], -np.abs(PRICES)),
    "thousands": ([f"{v:,}" for v in COUNTS], COUNTS),
    "dollars with thousands": ([f"${v:,.2f}" for v in LARGE], LARGE),
    "euros with a decimal comma": (swapped(f"{v:.2f} €" for v in PRICES), PRICES),
    "dots for thousands": (swapped(f"{v:,.2f}" for v in LARGE), LARGE),
    "spaces for thousands": ([f"{v:,}".replace(",", "\u202f") for v in COUNTS], COUNTS),
    "apostrophes": ([f"CHF {v:,}".replace(",", "'") for v in COUNTS], COUNTS),
    "percent": ([f"{v}%" for v in PRICES], PRICES),
}


@pytest.mark.parametrize("given", [None, "regression"])
@pytest.mark.parametrize("name", WRITTEN)
def test_numbers_are_a_regression_however_they_are_written(name, given):
    values, numbers = WRITTEN[name]
    target = target_of(values, problem_type=given)
    assert target.problem_type == "regression"
    assert target.mean == pytest.approx(float(np.mean(numbers)), rel=1e-6)
    again = RowTarget.from_dict(json.loads(json.dumps(target.to_dict())))
    assert again == target
    np.testing.assert_allclose(
        again.restore(again.encode(pd.DataFrame({"y": values})))[:, 0], numbers.astype(float), rtol=1e-4
    )
    # the same numbers in a numeric column are scored alike
    np.testing.assert_allclose(
        again.restore(again.encode(pd.DataFrame({"y": np.asarray(numbers, float)})))[:, 0], numbers, rtol=1e-4
    )


def test_the_reason_says_how_the_numbers_are_read():
    reason = target_of(WRITTEN["dots for thousands"][0]).reason
    assert "numbers with a fraction, written as text (dots separate thousands; commas separate decimals)" in reason
    assert "problem_type='multiclass' makes them classes" in reason


CLASSES = [
    (["0", "1", "2"] * 4, "multiclass", ("0", "1", "2")),
    (["1.0", "2.5"] * 4, "binary", ("1.0", "2.5")),
    (pd.Series([1, 2, 3] * 4, dtype=object), "multiclass", (1, 2, 3)),
    ([Decimal(1), Decimal(2), Decimal(3)] * 4, "multiclass", (1, 2, 3)),
    ([Decimal(0), Decimal(1)] * 4, "binary", (0, 1)),
    (pd.Categorical([Decimal("0.5"), Decimal(1), Decimal(2)] * 4), "multiclass", (0.5, 1, 2)),
    (pd.Series([Decimal(1), Decimal(2)] * 4, dtype=pd.ArrowDtype(pa.decimal128(3, 0))), "binary", (1, 2)),
    (["007", "012", "100"] * 4, "multiclass", ("007", "012", "100")),
    (["10.0.0.1", "1.1.1.1", "8.8.8.8"] * 4, "multiclass", ("1.1.1.1", "10.0.0.1", "8.8.8.8")),
    (["$5", "$10", "$20"] * 4, "multiclass", ("$10", "$20", "$5")),
    (pd.Categorical([0.5, 1.5, 2.5] * 4), "multiclass", (0.5, 1.5, 2.5)),
]


@pytest.mark.parametrize(("values", "problem", "classes"), CLASSES)
def test_few_whole_numbers_codes_and_categories_stay_classes(values, problem, classes):
    target = target_of(values)
    assert (target.problem_type, target.classes) == (problem, classes)
    again = RowTarget.from_dict(json.loads(json.dumps(target.to_dict())))
    assert again == target
    encoded = target.encode(pd.DataFrame({"y": values}))
    decoded = again.decode(np.eye(len(classes))[encoded])
    assert decoded.tolist() == [float(v) if isinstance(v, Decimal) else v for v in values]


REFUSED = [
    ([None, *PRICES], {}, r"missing in 1 of 41 rows: row 0\. Drop them"),
    (["NA", *map(str, PRICES)], {}, r"missing in 1 of 41 rows: row 0\. Drop them"),
    (["", *map(str, PRICES)], {}, r"missing in 1 of 41 rows: row 0\. Drop them"),
    ([*map(str, PRICES), "unknown"], {}, r"numbers in 40 of 41 rows, but not in row 40: 'unknown'.*'regression'"),
    ([f"{v} kg" for v in PRICES], {}, r"40 of them in one row only.*problem_type='regression'"),
    ([f"{'$€'[i % 2]}{v}" for i, v in enumerate(PRICES)], {}, r"in one row only.*problem_type='regression'"),
    ([f"name {i}" for i in range(30)], {}, r"30 different values in 30 rows.*problem_type='multiclass'"),
    (pd.Categorical(PRICES), {}, r"in one row only.*problem_type='regression'"),
    (pd.date_range("2020", periods=30).strftime("%Y-%m-%d"), {}, "in one row only"),
    ([f"{v} kg" for v in PRICES], {"problem_type": "regression"}, r"not numeric in 40 rows.*pd\.to_numeric"),
    ([10**400, 1.5, 2.5], {}, "is infinite"),
    ([Decimal("Infinity"), Decimal("1.5"), Decimal(2)], {}, "is infinite"),
]


@pytest.mark.parametrize(("values", "given", "message"), REFUSED)
def test_what_cannot_be_learned_says_the_way_out(values, given, message):
    with pytest.raises(LabelError, match=message):
        target_of(values, **given)


def test_classes_of_one_row_are_learned_where_the_user_says_they_are_classes():
    assert target_of([f"name {i}" for i in range(30)], problem_type="multiclass").width == 30


def test_a_fit_to_numbers_as_text_is_the_one_to_numbers():
    frame = make_table(48).assign(y=np.linspace(1000, 90_000, 48).round(2))
    fits = []
    for label in (frame["y"], frame["y"].map("${:,.2f}".format)):
        fits.append(Predictor("y", verbosity=0).fit(frame.assign(y=label), hyperparameters=TINY))
    assert fits[1].problem_type == "regression"
    assert fits[1].evaluate(frame.assign(y=label)) == fits[0].evaluate(frame)
