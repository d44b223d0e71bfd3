"""Callbacks: when they are called, what they see, and that a fit with them resumes exactly."""

from __future__ import annotations

import json
import math
import sys

import numpy as np
import pytest
import torch

from support.diary import Diary
from support.stopping import killed_before
from support.tiny import TINY, make_table, told
from support.toy import Recorder
from thermocline import Callback, FitState, Predictor
from thermocline.errors import ConfigError
from thermocline.training import calling
from thermocline.training.calling import Calling
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


class Counts(Callback):
    def __init__(self, most):
        self.most = most


class Once(Callback):
    called = 0

    def on_fit_begin(self, state):
        Once.called += 1


class Breaks(Callback):
    def on_step_end(self, state):
        if state.step == 5:
            raise LookupError("mine")


class Draws(Callback):
    def on_step_begin(self, state):
        torch.rand(3)

    on_step_end = on_validation_begin = on_epoch_begin = on_phase_begin = on_step_begin


class Keeps(Callback):
    """Keeps states, and how they look at their moment."""

    def __init__(self):
        self.states, self.shown = [], []

    def on_step_begin(self, state):
        self.states.append(state)
        self.shown.append(repr(state))

    on_step_end = on_validation_end = on_epoch_end = on_phase_end = on_step_begin


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
    [
        ([print], "thermocline.Callback"),
        ("early_stop", "not 'early_stop'"),
        ([Counts], "Counts, which cannot be made without arguments"),
        ([object], "derive from thermocline.Callback"),
    ],
)
def test_what_is_no_callback(given, says):
    assert says in told(ConfigError, ValueError, lambda: fit(given))


def test_one_callback_twice_is_an_error():
    watch = Watch()
    assert "twice" in told(ConfigError, ValueError, lambda: fit([watch, watch]))


@pytest.mark.parametrize("given", [Once, Once(), [Once], (Once(),)])
def test_a_class_or_one_callback_will_do(given):
    Once.called = 0
    fit(given, **{"optim.max_epochs": 1})
    assert Once.called == 1


def named(name, hook=lambda self, state: None):
    return type("Mine", (Callback,), {name: hook})


@pytest.mark.parametrize(
    ("callback", "says"),
    [
        (named("on_train_epoch_end"), "Did you mean 'on_epoch_end'?"),  # Lightning
        (named("on_evaluate"), "Did you mean 'on_validation_end'?"),  # transformers
        (named("on_epoch_ends"), "Did you mean 'on_epoch_end'"),
        (named("on_step_end", lambda self: None), "def on_step_end(self, state)"),
        (named("on_step_end", lambda self, args, state, control: None), "takes (args, state, control)"),
    ],
)
def test_hooks_that_would_never_be_called_or_fail_are_an_error_before_anything_is_loaded(callback, says, no_loading):
    assert says in told(ConfigError, ValueError, lambda: fit([callback()]))


# every hook


UNFREEZE = {"optim.schedule_plan": "gradual_unfreeze", "optim.max_epochs": 3}


def test_the_order_of_all_hooks():
    diary = Diary()
    predictor = fit([diary], **UNFREEZE)
    assert diary.grammar() == ""
    steps = int(predictor.history["step"].max())
    assert [line["step"] for line in diary.lines if line["hook"] == "step_end"] == list(range(1, steps + 1))
    assert [line["epoch_index"] for line in diary.lines if line["hook"] == "epoch_begin"] == [0, 1, 2]
    assert [line["epoch_index"] for line in diary.lines if line["hook"] == "epoch_end"] == [0, 1, 2]
    phases = [phase.name for phase in predictor.plan.phases]
    assert len(phases) == 3
    for hook in ("phase_begin", "phase_end"):
        assert [line["phase"] for line in diary.lines if line["hook"] == hook] == phases
    frozen = [line["frozen"] for line in diary.lines if line["hook"] == "phase_begin"]
    assert frozen == [["table/stem", "table/blocks.0"], ["table/stem"], []]
    for line in diary.lines:
        if line["hook"] == "step_end":  # the history keeps rates to six digits
            kept = predictor.history.lrs.loc[line["step"]].to_dict()
            assert line["rates"] == pytest.approx(kept, rel=1e-5)
    losses = [line["loss"] for line in diary.lines if line["hook"] == "step_end" and line["epoch_index"] == 0]
    assert np.mean(losses) == pytest.approx(predictor.history["train_loss"].dropna().iloc[0])


@pytest.mark.parametrize("hook", ["on_step_end", "on_step_begin", "on_epoch_begin", "on_phase_begin", "on_epoch_end"])
def test_each_hook_may_stop_and_what_had_begun_is_ended(hook):
    def stop(self, state):
        if state.step >= 2:
            state.stop("enough")

    diary = Diary()
    predictor = fit([diary, named(hook, stop)()], **UNFREEZE)
    assert "stopped by Mine: enough" in predictor.history["note"].tolist()
    assert diary.grammar() == ""
    first = {"on_step_end": 2, "on_step_begin": 3, "on_epoch_begin": 4, "on_phase_begin": 4, "on_epoch_end": 3}[hook]
    assert predictor.history["step"].max() == first


def test_ctrl_c_ends_what_had_begun():
    def interrupt(self, state):
        if state.step == 4:
            raise KeyboardInterrupt

    diary = Diary()
    fit([diary, named("on_step_end", interrupt)()])
    assert [line["hook"] for line in diary.lines[-4:]] == ["step_end", "epoch_end", "phase_end", "fit_end"]


@pytest.mark.parametrize("step", [2, 3, 5, 7])
def test_a_resumed_fit_calls_nothing_twice(tmp_path, step):
    whole = Diary()
    fit([whole], tmp_path / "whole", **UNFREEZE)
    with killed_before(step):
        fit([Diary()], tmp_path / "run", **UNFREEZE)
    last = Diary()
    fit([last], tmp_path / "run", resume=True, **UNFREEZE)
    assert last.resumed == 1
    assert json.dumps(last.lines) == json.dumps(whole.lines)


def test_a_longer_run_does_not_begin_its_epoch_again(tmp_path):
    with killed_before(8):
        fit([Diary()], tmp_path / "run")
    last = Diary()
    fit([last], tmp_path / "run", resume=True, **{"optim.max_epochs": 6})
    begun = [line["epoch_index"] for line in last.lines if line["hook"] == "epoch_begin"]
    assert begun == [0, 1, 2, 3, 4, 5]
    assert [line["hook"] for line in last.lines].count("phase_begin") == 1


def test_an_error_in_a_step_leaves_checkpoints(tmp_path):
    whole = fit([], tmp_path / "whole")
    with pytest.raises(LookupError, match="mine"):
        fit([Breaks()], tmp_path / "run")
    run = fit([], tmp_path / "run", resume=True)
    assert run.history.drop(columns="seconds").equals(whole.history.drop(columns="seconds"))


def test_hooks_change_no_bit():
    plain, seen = fit([]), fit([Draws()])
    frame = make_table(20, seed=3)
    assert plain.predict_proba(frame).equals(seen.predict_proba(frame))


def test_a_state_is_of_its_moment():
    keep = Keeps()
    fit([keep], **UNFREEZE)
    assert [repr(state) for state in keep.states] == keep.shown


# what callbacks cost


def test_no_state_is_made_for_hooks_that_nobody_overrides(monkeypatch):
    made = []
    monkeypatch.setattr(calling, "FitState", lambda *given: made.append(given) or FitState(*given))
    fit([Callback() for _ in range(10)])
    assert made == []
    predictor = fit([Diary() for _ in range(10)])
    steps = int(predictor.history["step"].max())
    moments = 2 + 2 * steps + 2 * 5 + 2 * 4 + 2  # fit, steps, validations, epochs, phase: one state for all of them
    assert len(made) == moments


def calls_around_a_step(callbacks):
    """Python functions that are called around one step of a toy fit, the hooks counted."""
    seen = []

    class Counting(Calling):
        def step_begins(self, trainer):
            if trainer.cursor.step == 2:
                sys.setprofile(lambda _frame, event, _argument: seen.append(1) if event == "call" else None)
            super().step_begins(trainer)
            sys.setprofile(None)

        def step_ends(self, trainer, cursor):
            if cursor.step == 2:
                sys.setprofile(lambda _frame, event, _argument: seen.append(1) if event == "call" else None)
            super().step_ends(trainer, cursor)
            sys.setprofile(None)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("thermocline.training.trainer.Calling", Counting)
        fit(callbacks, **{"optim.max_epochs": 1})
    return len(seen)


class Empty(Callback):
    def on_step_begin(self, state):
        pass

    def on_step_end(self, state):
        pass


def test_ten_callbacks_add_few_calls_to_a_step():
    """Of functions: seconds are measured by benchmarks/callbacks.py, and are below 5 µs."""
    none = calls_around_a_step([])
    assert calls_around_a_step([Callback() for _ in range(10)]) == none
    assert calls_around_a_step([Empty() for _ in range(10)]) <= none + 2 * 10 + 2 * 3


# logging


def log_with(values, loggers=()):
    def log(self, state):
        state.log(values(state) if callable(values) else values)

    given = Predictor("y", eval_metric="accuracy", verbosity=0)
    return given.fit(
        make_table(60),
        hyperparameters={**OPTIONS, "optim.max_epochs": 1},
        callbacks=[named("on_step_end", log)()],
        loggers=loggers,
    )


def test_a_callback_logs_to_all_loggers():
    one, two = Recorder(), Recorder()
    values = {"mine/step": np.float32(2), "tensor": torch.tensor(3.0), "lost": math.nan, "whole": 4}
    log_with(lambda state: {**values, "norm": state.model.head.weight.norm().detach()}, [one, two])
    logged = [(step, values) for step, values in one.lines if "whole" in values]
    assert [step for step, _ in logged] == [1, 2, 3]
    assert {**logged[0][1], "norm": 0} == {"mine/step": 2.0, "tensor": 3.0, "whole": 4.0, "norm": 0}
    assert one.lines == two.lines
    log_with(values)  # without loggers nothing happens


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"loss": 1.0}, "a name under which the fit itself logs"),
        ({"val_mine": 1.0}, "a name under which the fit itself logs"),
        ({"lr/head": 1.0}, "a name under which the fit itself logs"),
        ({3: 1.0}, "A name is a text"),
        ({"": 1.0}, "A name is a text"),
        ({"mine": "1.0"}, "'mine' as '1.0'"),
        ({"mine": None}, "'mine' as None"),
        ({"mine": np.zeros(2)}, "one number"),
        ([1.0], "state.log takes a dict"),
    ],
)
def test_what_cannot_be_logged(values, says):
    message = told(ConfigError, ValueError, lambda: log_with(values))
    assert says in message
    assert "The callback Mine logs" in message
