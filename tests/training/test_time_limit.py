"""How much of a time limit is left, by a clock we hold."""

import math

import pytest

from thermocline.training import time_limit as module
from thermocline.training.time_limit import TimeLimit


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def test_it_counts_down_from_its_making(clock):
    limit = TimeLimit(10)
    clock[0] += 4
    assert limit.elapsed == 4
    assert limit.left == 6
    assert limit.allows(6)
    assert not limit.allows(6.1)
    clock[0] += 10
    assert limit.left == -4
    assert not limit.allows(0)


def test_without_a_limit_everything_is_allowed(clock):
    limit = TimeLimit(None)
    clock[0] += 1e9
    assert limit.left == math.inf
    assert limit.allows(1e12)
    assert limit.elapsed == 1e9
