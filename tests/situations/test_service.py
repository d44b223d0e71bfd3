"""In a service, a job or a pipe stdout and logs hold what they should, and nothing again and again."""

from __future__ import annotations

import io
import logging
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from support.tiny import TINY, make_table
from thermocline import Predictor
from thermocline.cli import main
from thermocline.report.console import Console

ONCE = {**TINY, "optim.max_epochs": 2}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "model"
    Predictor("y", path=folder, verbosity=0).fit(make_table(40), hyperparameters=ONCE)
    return folder


def gaps(*columns):
    frame = make_table(4)
    return frame.assign(**{name: [None, *frame[name].tolist()[1:]] for name in columns})


def test_missing_values_are_noted_once_a_column_in_the_log(saved, caplog, capsys):
    predictor = Predictor.load(saved)
    caplog.set_level("INFO", "thermocline")
    for _ in range(3):
        predictor.predict(gaps("x"))
    predictor.predict_proba(gaps("x", "colour"))
    predictor.evaluate(gaps("colour"))
    assert caplog.messages == ["missing values in 4 rows: x 1", "missing values in 4 rows: x 1, colour 1"]
    assert {record.name for record in caplog.records} == {"thermocline"}
    caplog.set_level("DEBUG", "thermocline")
    predictor.embed(gaps("x"))
    assert [record.levelname for record in caplog.records] == ["INFO", "INFO", "DEBUG"]
    Predictor.load(saved).predict(gaps("x"))  # another model is told of anew
    assert caplog.records[-1].levelname == "INFO"
    assert capsys.readouterr() == ("", "")


def test_nothing_is_said_of_what_is_whole_or_to_be_silent(saved, caplog, capsys):
    caplog.set_level("DEBUG", "thermocline")
    Predictor.load(saved).predict(make_table(4))
    Predictor.load(saved, verbosity=0).predict(gaps("x"))
    assert caplog.messages == []
    assert capsys.readouterr() == ("", "")


def test_the_callers_logging_is_left_as_it_is(saved):
    logger = logging.getLogger("thermocline")
    Predictor.load(saved).predict(gaps("x"))
    assert (logger.level, logger.handlers, logger.propagate) == (logging.NOTSET, [], True)


def test_a_redirected_fit_is_a_few_lines(capsys):
    Predictor("y").fit(make_table(200), hyperparameters={**ONCE, "env.batch_size": 8, "optim.val_check_interval": 1})
    out, err = capsys.readouterr()
    assert err == ""
    assert "\r" not in out
    lines = [line for line in out.splitlines() if line.startswith("epoch ") and "val_" in line]
    assert len(lines) == 4  # the probe, two epochs, and what was kept


class Stream(io.StringIO):
    def __init__(self, *, watched):
        super().__init__()
        self.watched = watched

    def isatty(self):
        return self.watched


@pytest.mark.parametrize("watched", [True, False])
def test_bars_are_for_who_watches(watched, monkeypatch):
    stream = Stream(watched=watched)
    monkeypatch.setattr(sys, "stderr", stream)
    assert list(Console(1).progress(range(3), 3, "training")) == [0, 1, 2]
    assert ("training" in stream.getvalue()) is watched
    assert list(Console(0).progress(range(3), 3, "silent")) == [0, 1, 2]
    assert "silent" not in stream.getvalue()


@pytest.mark.parametrize(("config", "shown"), [({"IPKernelApp": {}}, True), ({}, False)])
def test_a_notebook_is_watched(config, shown, monkeypatch):
    stream = Stream(watched=False)
    monkeypatch.setattr(sys, "stderr", stream)
    shell = SimpleNamespace(config=config)
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    list(Console(1).progress(range(3), 3, "training"))
    assert ("training" in stream.getvalue()) is shown


def test_commands_keep_stdout_for_the_result(saved, tmp_path, capsys):
    rows, target = tmp_path / "rows.csv", tmp_path / "answers.csv"
    gaps("x").to_csv(rows, index=False)
    assert main(["predict", str(saved), str(rows)]) == 0
    out, err = capsys.readouterr()
    answers = pd.read_csv(io.StringIO(out))
    assert answers.columns.tolist() == ["y"]
    assert len(answers) == 4
    assert err == "note: missing values in 4 rows: x 1\n"
    assert main(["predict", str(saved), str(rows), "--out", str(target)]) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert err.endswith(f"4 predictions written to {target}\n")
    assert main(["evaluate", str(saved), str(rows), "--metrics", "accuracy"]) == 0
    out, err = capsys.readouterr()
    assert np.isfinite(float(out.removeprefix("accuracy ")))
    assert err == "note: missing values in 4 rows: x 1\n"
    logger = logging.getLogger("thermocline")
    assert (logger.level, logger.handlers) == (logging.NOTSET, [])
