"""Numbers, texts and containers that no argument means: named errors before anything is allocated or trained."""

from __future__ import annotations

import datetime

import numpy as np
import pytest

from support.tiny import TINY, make_table, told
from thermocline import Predictor
from thermocline.config import schema_of
from thermocline.config.values import convert, parse
from thermocline.errors import ConfigError, DataError
from thermocline.training.trainer import Trainer

KEYS = schema_of().keys
HUGE = 10**400
STRANGE = [HUGE, -HUGE, 1e300, float("nan"), float("inf"), b"x", object(), 1j, set(), {}, "\0", "x" * 10**5]
STRANGE += [np.timedelta64(5, "s"), np.array([4, 5]), np.array(4.5), datetime.timedelta(seconds=3)]


@pytest.fixture(autouse=True)
def no_training(monkeypatch):
    monkeypatch.setattr(Trainer, "fit", lambda self: pytest.fail("it was trained"))


def refused(act, kind=ConfigError) -> str:
    message = told(kind, ValueError, act)
    assert len(message) < 900
    return message


def converted(key, value):
    try:
        return convert(key, value), ""
    except ConfigError as error:
        return None, str(error)


def fit(frame=None, predictor=None, **more):
    frame = make_table(40) if frame is None else frame
    return (predictor or Predictor("y", verbosity=0)).fit(frame, **{"hyperparameters": TINY, **more})


@pytest.mark.parametrize("path", KEYS)
def test_every_option_refuses_or_bounds_what_it_is_given(path):
    key = KEYS[path]
    for value in [*STRANGE, True, -1, 0, "", [], [[]], [None], (), None, 10**18, 1e-320]:
        taken, message = converted(key, value)
        assert len(str(taken)) < 5000
        assert path in message if message else True
        assert len(message) < 700
    if key.types <= {int} and not key.many:
        assert key.at_most is not None, "the largest whole number that it takes"
        assert f"{key.at_most:,.0f}" in key.allowed


@pytest.mark.parametrize("path", [path for path, key in KEYS.items() if key.types <= {int, float} and not key.many])
def test_numbers_written_as_text(path):
    for text in ("nan", "inf", "-inf", "1e999", "9" * 500, "", "x", "[]", "{}"):
        assert path in refused(lambda t=text: parse(KEYS[path], t))


@pytest.mark.parametrize(
    "options",
    [
        {"optim.lr": {}},
        {"optim": {"lr": {}}},
        {"optim.lr": {"a": {}}},
        {"optim.max_epochs": []},
        {"optim.phases": {}},
        {"optim.phases": []},
        {"optim.schedule_plan": []},
        {"optim.schedule_plan": "x" * 10**5},
        {"optim.phases": "\0"},
        {"model.frozen_layers": {}},
        {"env.loggers": {}},
        {"model.text.checkpoint": {}},
        {"optim.nonsense": {}},
    ],
    ids=lambda options: str(options)[:40],
)
def test_empty_containers_are_not_passed_over(options):
    name = next(iter(options)).partition(".")[0]
    assert name in refused(lambda: fit(hyperparameters={**TINY, **options}))


def test_an_empty_section_is_nothing():
    with pytest.raises(pytest.fail.Exception, match="it was trained"):
        fit(hyperparameters={**TINY, "optim": {}})


@pytest.mark.parametrize("value", [*STRANGE, None, True, -1, 2**32, 1.0, "2"], ids=lambda value: repr(value)[:20])
def test_seeds(value):
    assert "seed is a whole number from 0 to" in refused(lambda: fit(seed=value))


@pytest.mark.parametrize(
    "value",
    [*STRANGE[:2], *STRANGE[5:], float("nan"), 0, -1, True, "20 min", np.bool(True)],
    ids=lambda value: repr(value)[:20],
)
def test_time_limits(value):
    assert "time_limit is a number of seconds above 0" in refused(lambda: fit(time_limit=value))


@pytest.mark.parametrize("value", [*STRANGE[2:], None, True, -1, -HUGE, 1.0, "2"], ids=lambda value: repr(value)[:20])
def test_verbosities(value):
    assert "verbosity is 0" in refused(lambda: Predictor("y", verbosity=value))


@pytest.mark.parametrize("name", ["resume", "overwrite"])
@pytest.mark.parametrize("value", [None, "no", 0, 1, [], np.array([True, False])], ids=repr)
def test_flags(name, value):
    assert f"{name} is True or False" in refused(lambda: fit(**{name: value}))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("problem_type", "problem_type is a text or None"),
        ("eval_metric", "Unknown metric"),
        ("sample_weight", "sample_weight is the name of a column"),
    ],
)
@pytest.mark.parametrize("value", [5, HUGE, b"x", ["x"], np.array(["a", "b"]), object], ids=lambda v: repr(v)[:20])
def test_texts(name, words, value):
    assert words in refused(lambda: Predictor("y", **{name: value}))


@pytest.mark.parametrize("label", [HUGE, b"x", np.array(4), {}, 1j, [[]]], ids=lambda value: repr(value)[:20])
def test_labels(label):
    assert "label is a column name" in refused(lambda: Predictor(label))


@pytest.mark.parametrize("weight", [1e300, 1e38, 1e-320, 2e12, -1, np.nan, 0])
def test_weights_that_do_not_add_up(weight):
    frame = make_table(40).assign(w=1.0)
    some = frame.assign(w=np.where(frame.index < 3, weight, 1.0))
    with_weight = [frame.assign(w=weight), *([] if weight == 0 else [some])]
    for one in with_weight:
        message = refused(lambda f=one: fit(f, Predictor("y", sample_weight="w", verbosity=0)), DataError)
        assert "'w' of train_data" in message


def test_more_steps_than_a_run_takes():
    options = {**TINY, "env.batch_size": 1, "optim.max_epochs": 1_000_000}
    with pytest.raises(ConfigError, match=r"a run takes at most 100,000,000.*Lower optim.max_epochs"):
        fit(make_table(200), hyperparameters=options)
