"""Intervals by drawing rows again."""

from __future__ import annotations

import math

import numpy as np
import pytest

from thermocline.contracts.reporting import Redrawn
from thermocline.evaluation import bootstrap
from thermocline.evaluation.bootstrap import draws_of, intervals


def mean_of(values, **more):
    return Redrawn(lambda counts, names: {name: counts @ values / counts.sum(axis=1) for name in names}, **more)


def test_the_interval_of_a_mean_is_that_of_its_standard_error():
    values = np.random.default_rng(0).normal(size=400)
    low, high = intervals(mean_of(values), 400, ["mean"])["mean"]
    error = values.std() / math.sqrt(400)
    assert (high - low) / (2 * 1.96 * error) == pytest.approx(1, abs=0.1)
    assert low < values.mean() < high


def test_the_draws_depend_on_the_number_of_rows_alone(monkeypatch):
    values = np.arange(50.0)
    whole = intervals(mean_of(values), 50, ["mean"])
    monkeypatch.setattr(bootstrap, "CHUNK", 170)  # three draws at once
    assert intervals(mean_of(values), 50, ["mean"]) == whole
    shifted = intervals(mean_of(values + 1), 50, ["mean"])["mean"]
    assert shifted == pytest.approx([end + 1 for end in whole["mean"]])  # the same draws: paired


def test_work_is_bounded():
    assert [draws_of(rows) for rows in (1, 20_000, 40_000, 200_000, 10**7)] == [1000, 1000, 500, 100, 100]
    assert draws_of(100, size=100_000) == 200
    seen = {"fast": 0, "slow": 0}

    def compute(counts, names):
        for name in names:
            seen[name] += len(counts)
        return {name: counts[:, 0].astype(float) for name in names}

    intervals(Redrawn(compute, frozenset({"slow"})), 20, ["fast", "slow"])
    assert seen == {"fast": bootstrap.MOST_DRAWS, "slow": bootstrap.MOST_SLOW_DRAWS}


def test_no_interval_of_few_rows_or_of_what_few_draws_define():
    assert intervals(mean_of(np.arange(9.0)), 9, ["mean"]) == {}
    rarely = Redrawn(lambda counts, names: {n: np.where(counts[:, 0] > 1, 1.0, np.nan) for n in names})
    assert intervals(rarely, 30, ["mean"]) == {}
