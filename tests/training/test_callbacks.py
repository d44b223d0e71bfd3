"""Callbacks: when they are called, what they see, and that a fit with them resumes exactly."""

from __future__ import annotations

import math

import pytest

from support.stopping import killed_before
from support.tiny import TINY, make_table, told
from thermocline import Callback, Predictor
from thermocline.errors import ConfigError
from thermocline.training.trainer import Trainer

OPTIONS = {**TINY, "optim.max_epochs": 4, "env.checkpoint_every": 1}


class Watch(Callback):
    """Notes what it was called with."""

    def __init__(self, log=None, name=""):
        self.log, self.name = [] if log is None else log, name

    def on_fit_begin(self, state):
        self.log.append((self.name, "begin", state))

    def on_validation_end(self, state):
        self.log.append((self.name, "validation", state))

    def on_fit_end(self, state):
        self.log.append((self.name, "end", state))


class AfterThree(Callback):
    """Stops at the third validation, counted over all processes."""

    def __init__(self):
        self.steps = []

    def on_validation_end(self, state):
        self.steps.append(state.step)
        if len(self.steps) == 3:
            state.stop("three are enough")

    def state_dict(self):
        return {"steps": self.steps}

    def load_state_dict(self, state):
        self.steps = list(state["steps"])


def fit(callbacks, path=None, *, resume=False, **options):
    predictor = Predictor("y", eval_metric="accuracy", path=path, verbosity=0)
    frame = make_table(60)
    return predictor.fit(frame, hyperparameters={**OPTIONS, **options}, resume=resume, callbacks=callbacks)


def test_hooks_are_called_in_the_order_of_the_list_and_see_the_fit():
    log = []
    predictor = fit([Watch(log, "a"), Watch(log, "b")])
    assert [name for name, *_ in log] == ["a", "b"] * (len(log) // 2)
    seen = [(hook, state) for name, hook, state in log if name == "a"]
    assert [hook for hook, _ in seen] == ["begin", *["validation"] * 5, "end"]
    begin, *validations, end = (state for _, state in seen)
    assert (begin.step, begin.scores, begin.best_step) == (0, {}, None)
    assert math.isnan(begin.score)
    rows = predictor.history.dropna(subset=["val_accuracy"])
    rows = rows[~rows["note"].str.startswith("kept")]
    assert [state.step for state in validations] == rows["step"].tolist()
    assert [state.score for state in validations] == rows["val_accuracy"].tolist()
    assert [state.lr for state in validations[1:]] == rows["lr"].tolist()[1:]
    assert [state.epoch for state in validations] == [0, 1, 2, 3, 4]
    assert (end.metric, end.greater_is_better, end.total_steps) == ("accuracy", True, validations[-1].step)
    assert end.score == predictor.history.kept_scores["accuracy"]


def test_the_state_is_read_only():
    watch = Watch()
    fit([watch], **{"optim.max_epochs": 1})
    with pytest.raises(AttributeError):
        watch.log[0][2].step = 3


def test_a_callback_ends_training_and_the_history_says_why():
    predictor = fit([AfterThree()])
    notes = predictor.history["note"].tolist()
    assert "stopped by AfterThree: three are enough" in notes
    assert notes[-1].startswith("kept: ")
    assert predictor.history["epoch"].max() == 2


def test_stopped_at_the_beginning_the_probe_is_kept():
    class Never(Callback):
        def on_fit_begin(self, state):
            state.stop("not today")

    predictor = fit([Never()])
    assert predictor.history["step"].max() == 0
    assert predictor.predict(make_table(5)).notna().all()


@pytest.mark.parametrize("step", [2, 4, 6])
def test_resumed_is_never_stopped_with_a_callback_that_remembers(tmp_path, step):
    whole = fit([AfterThree()], tmp_path / "whole")
    with killed_before(step):
        fit([AfterThree()], tmp_path / "run")
    last = AfterThree()
    run = fit([last], tmp_path / "run", resume=True)
    assert len(last.steps) == 3
    assert run.history.drop(columns="seconds").equals(whole.history.drop(columns="seconds"))
    frame = make_table(20, seed=3)
    assert run.predict_proba(frame).equals(whole.predict_proba(frame))


def test_what_a_callback_asked_for_holds_after_a_resume(tmp_path, monkeypatch):
    whole = fit([AfterThree()], tmp_path / "whole")
    original, died = Trainer._must_stop, []

    def dying(self, step):
        if self.calling.stopped and not died:
            died.append(step)
            raise KeyError("killed between the checkpoint and the end")
        return original(self, step)

    monkeypatch.setattr(Trainer, "_must_stop", dying)
    with pytest.raises(KeyError):
        fit([AfterThree()], tmp_path / "run")
    run = fit([AfterThree()], tmp_path / "run", resume=True)
    assert run.history.drop(columns="seconds").equals(whole.history.drop(columns="seconds"))


def test_a_callback_that_the_checkpoint_does_not_know_starts_anew(tmp_path):
    with killed_before(4):
        fit([], tmp_path / "run")
    predictor = fit([AfterThree()], tmp_path / "run", resume=True)
    assert predictor.history["note"].str.contains("no state of the callback AfterThree").any()


def test_an_error_of_a_hook_ends_the_fit(tmp_path):
    class Broken(Callback):
        def on_validation_end(self, state):
            raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        fit([Broken()], tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_what_json_cannot_hold_is_an_error_that_names_the_callback(tmp_path):
    class Odd(Callback):
        def state_dict(self):
            return {"what": object()}

    assert "state_dict of the callback" in told(ConfigError, ValueError, lambda: fit([Odd()], tmp_path / "run"))


@pytest.mark.parametrize(
    ("given", "says"),
    [([Watch], "make one: Watch()"), ([print], "thermocline.Callback"), ("early_stop", "not 'early_stop'")],
)
def test_what_is_no_callback(given, says):
    assert says in told(ConfigError, ValueError, lambda: fit(given))
