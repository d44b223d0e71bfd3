"""Intervals hold the share of new rows that was asked for, or say what is missing."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.tiny import TINY, make_table, told
from thermocline import Predictor
from thermocline.contracts.problem import Problem
from thermocline.errors import ConfigError, NotFittedError
from thermocline.problems.rowwise.intervals import MOST_KEPT, Residuals
from thermocline.problems.rowwise.problem import Rowwise
from thermocline.problems.rowwise.target import RowTarget


@given(
    st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60),
    st.sampled_from([0.01, 0.3, 0.5, 0.8, 0.9, 0.95, 0.99]),
)
@settings(deadline=None)
def test_the_width_is_the_order_statistic_of_the_rule(errors, coverage):
    found = Residuals.of(np.array(errors), np.zeros(len(errors)))
    rank = math.ceil(round((len(errors) + 1) * coverage, 6))
    if rank <= len(errors):
        assert found.half_width(coverage) == sorted(map(abs, errors))[rank - 1]
    else:
        needed = int(told(ConfigError, ValueError, lambda: found.half_width(coverage)).split()[4])
        assert needed > len(errors)
        enough = Residuals.of(np.ones(needed), np.zeros(needed))
        assert enough.half_width(coverage) == 1


def test_new_rows_lie_in_it_as_often_as_asked():
    rng = np.random.default_rng(0)
    hits = []
    for _ in range(300):
        width = Residuals.of(rng.standard_t(3, 39), np.zeros(39)).half_width(0.9)
        hits.append((np.abs(rng.standard_t(3, 200)) <= width).mean())
    assert np.mean(hits) == pytest.approx(0.9, abs=0.012)  # 36/40


def test_of_many_errors_some_are_kept_and_none_makes_it_narrower():
    errors = np.random.default_rng(0).exponential(size=12_345)
    found = Residuals.of(errors, np.zeros(len(errors)))
    assert (found.count, len(found.sizes)) == (12_345, MOST_KEPT)
    for coverage in (0.001, 0.5, 0.9, 0.9995):
        exact = np.sort(errors)[math.ceil(12_346 * coverage) - 1]
        assert exact <= found.half_width(coverage) <= np.quantile(errors, min(1.0, coverage + 0.0012))
    assert found.sizes[-1] == errors.max()


def test_rows_that_are_not_finite_are_left_out():
    found = Residuals.of(np.array([1.0, 2.0, 3.0]), np.array([1.5, np.nan, np.inf]))
    assert found == Residuals(1, (0.5,))
    assert Residuals.of(np.zeros(2), np.full(2, np.nan)) is None


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    frame = numbers(200)
    frame["w"] = np.where(np.arange(200) % 4 == 0, 0.0, 1.0)
    predictor = Predictor("y", sample_weight="w", path=tmp_path_factory.mktemp("numbers") / "saved", verbosity=0)
    return predictor.fit(frame.iloc[:120], frame.iloc[120:], hyperparameters=TINY)


def numbers(rows, seed=0):
    noise = np.random.default_rng(seed).normal(size=rows)
    return make_table(rows, seed).assign(y=lambda one: 100 + 20 * one["x"] + 5 * noise)


def test_a_fitted_predictor_gives_them_in_the_units_of_the_label(fitted):
    new = numbers(300, seed=1).set_index(np.arange(300) * 2)
    found = fitted.predict_interval(new.drop(columns="y"))
    assert list(found.columns) == ["lower", "prediction", "upper"]
    assert found.index.equals(new.index)
    np.testing.assert_array_equal(found["prediction"], fitted.predict(new))
    np.testing.assert_allclose(found["upper"] - found["prediction"], found["prediction"] - found["lower"])
    assert new["y"].between(found["lower"], found["upper"]).mean() == pytest.approx(0.9, abs=0.07)
    again = Predictor.load(fitted.path, verbosity=0)
    pd.testing.assert_frame_equal(again.predict_interval(new), found)
    wide = again.predict_interval(new, 0.98)
    assert (wide["upper"] > found["upper"]).all()


def test_what_is_not_possible_is_an_error(fitted):
    message = told(ConfigError, ValueError, lambda: fitted.predict_interval(numbers(5), coverage=0.99))
    assert "needs at least 99 validation rows, and there were 60" in message  # rows of weight 0 do not count
    for coverage in (0, 1, 1.5, "0.9", True, float("nan")):
        message = told(ConfigError, ValueError, lambda given=coverage: fitted.predict_interval(numbers(5), given))
        assert "above 0 and below 1, such as 0.9" in message
    told(NotFittedError, RuntimeError, lambda: Predictor("y").predict_interval(numbers(5)))


def test_classes_and_old_predictors_have_none(table):
    classes, old = RowTarget.of(table, "y"), RowTarget.of(numbers(30), "y")
    assert "predict_proba" in told(ConfigError, ValueError, lambda: Rowwise().check_interval(classes, 0.9))
    assert "residuals" not in old.to_dict()
    assert "Fit it again" in told(ConfigError, ValueError, lambda: Rowwise().check_interval(old, 0.9))
    other = SimpleNamespace(problem_type="object_detection")
    assert "for regression" in told(ConfigError, ValueError, lambda: Problem.check_interval(None, other, 0.9))


def test_residuals_survive_json():
    target = RowTarget.of(numbers(30), "y")
    target = RowTarget.from_dict({**target.to_dict(), "residuals": {"count": 3, "sizes": [0.5, 1.0, 2.5]}})
    assert target.residuals == Residuals(3, (0.5, 1.0, 2.5))
    assert RowTarget.from_dict(json.loads(json.dumps(target.to_dict()))) == target
