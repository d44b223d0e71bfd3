"""Where numbers go: CSV lines, TensorBoard events, and loggers of the caller's own."""

import csv

import pytest

from support.stopping import Killed, Trap, killed_before, stop_after, trainer_of
from support.tiny import TINY, make_table, told
from support.toy import Recorder
from support.toy import fit as fit_toy
from thermocline import CSV, Logger, Predictor, RunInfo, TensorBoard
from thermocline.errors import (
    ConfigError,
    LoggerError,
    MissingDependencyError,
    OutputExistsError,
    ThermoclineWarning,
)
from thermocline.training import loggers as module
from thermocline.training import rates
from thermocline.training.open_loggers import make_loggers


def begun(logger, **info):
    logger.begin(RunInfo(**info))
    return logger


def fit(path=None, *, resume=False, loggers=(), frame=None, **options):
    settled = {**TINY, "env.checkpoint_every": 1 if path else None, **options}
    predictor = Predictor("y", eval_metric="accuracy", path=path, verbosity=0)
    frame = make_table(60) if frame is None else frame
    return predictor.fit(frame, hyperparameters=settled, resume=resume, loggers=loggers)


# CSV


def test_csv_lines(tmp_path):
    logger = begun(CSV(tmp_path / "new" / "mine.csv"))
    logger.log(1, {"loss": 0.1, "lr/text/encoder.layer.3": 1e-05})
    logger.log(2, {"val_accuracy": 1 / 3})
    logger.close()
    lines = list(csv.reader((tmp_path / "new" / "mine.csv").read_text().splitlines()))
    assert lines[0] == ["step", "name", "value"]
    assert lines[2] == ["1", "lr/text/encoder.layer.3", "1e-05"]
    assert float(lines[3][2]) == 1 / 3  # nothing is rounded


def test_csv_goes_on_after_the_step_of_a_checkpoint(tmp_path):
    file = tmp_path / "metrics.csv"
    logger = begun(CSV(file))
    for step in (1, 2, 3, 4):
        logger.log(step, {"loss": step / 10, "lr/a,b": 1.0})
    logger.flush()
    logger.close()
    whole = file.read_bytes()
    with file.open("ab") as half:
        half.write(b"4,val_accu")  # killed in the middle of a line
    logger = begun(CSV(file), after=2)
    for step in (3, 4):
        logger.log(step, {"loss": step / 10, "lr/a,b": 1.0})
    logger.close()
    assert file.read_bytes() == whole
    for after in (None, 0):
        begun(CSV(file), after=after).close()
        assert file.read_text().split() == ["step,name,value"]


def test_loggers_by_name(tmp_path):
    assert make_loggers([]) == []
    (logger,) = make_loggers(["csv", "csv"])
    begun(logger, folder=tmp_path / "logs").close()
    assert (tmp_path / "logs" / "metrics.csv").is_file()


# what is logged


def test_rates_and_losses_are_logged_when_the_history_takes_rates(tmp_path):
    recorder = Recorder()
    options = {"optim.phases": [{"name": "all", "schedule": "one_cycle"}], "optim.max_epochs": 6}
    predictor = fit(loggers=[recorder], **options)
    taken = predictor.history.lrs
    logged = {step: values for step, values in recorder.lines if "loss" in values}
    assert list(logged) == taken.index.tolist()
    for label in taken:
        assert [values[f"lr/{label}"] for values in logged.values()] == pytest.approx(taken[label], rel=1e-5)
    peak = max(values["lr/fusion/head"] for values in logged.values())
    assert peak > 0.9 * predictor.plan.lr  # the top of the cycle is among them


def test_what_is_frozen_is_logged(tmp_path):
    recorder = Recorder()
    predictor = fit(loggers=[recorder], **{"optim.schedule_plan": "gradual_unfreeze"})
    sizes = {layer.label: layer.n_parameters for layer in predictor.plan.layers}
    for step, values in recorder.lines:
        if "loss" in values:
            frozen = [label for label, rate in predictor.history.lrs.loc[step].items() if rate == 0]
            assert values["frozen/layers"] == len(frozen)
            assert values["frozen/share"] == sum(sizes[one] for one in frozen) / sum(sizes.values())
    assert len({values["frozen/layers"] for _, values in recorder.lines if "loss" in values}) == 3


def test_a_long_fit_is_logged_as_often_as_the_history_takes_rates(tmp_path, monkeypatch):
    monkeypatch.setattr(rates, "STEPS_KEPT", 10)
    recorder = Recorder()
    _, history = fit_toy(tmp_path, loggers=[recorder], optim={"max_epochs": 12, "patience": 100})
    logged = [step for step, values in recorder.lines if "loss" in values]
    assert logged == history.lrs.index.tolist() == [1, *range(6, 61, 6)]


# TensorBoard


def events_of(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return events


def test_tensorboard_events(tmp_path):
    pytest.importorskip("tensorboard")
    logger = begun(TensorBoard(tmp_path / "new"))
    logger.log(3, {"loss": 0.5, "lr/text/encoder.layer.3": 0.25})
    logger.close()
    events = events_of(tmp_path / "new")
    assert set(events.Tags()["scalars"]) == {"loss", "lr/text/encoder.layer.3"}
    (one,) = events.Scalars("loss")
    assert (one.step, one.value) == (3, 0.5)


def test_a_package_that_is_not_installed_is_told_before_anything_is_loaded(tmp_path, monkeypatch, no_loading):
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    for name in ("tensorboard", "mlflow", "wandb"):
        options = {"env.loggers": [name]}
        message = told(MissingDependencyError, ImportError, lambda options=options: fit(tmp_path / "m", **options))
        assert f"pip install 'thermocline[{name}]'" in message


def test_tensorboard_has_one_curve_a_layer_and_goes_on(tmp_path):
    pytest.importorskip("tensorboard")
    stop_after(tmp_path / "c", 7, loggers=[begun(TensorBoard(tmp_path / "t"))], plan="gradual_unfreeze")
    loggers = [begun(TensorBoard(tmp_path / "t"), after=7)]
    trainer = trainer_of(tmp_path / "c", Trap([("step", 15)]), loggers=loggers, plan="gradual_unfreeze", every=8)
    with pytest.raises(Killed):  # what it logs after the checkpoint is told again by the next process
        trainer.fit()
    loggers = [begun(TensorBoard(tmp_path / "t"), after=8)]
    trainer = trainer_of(tmp_path / "c", loggers=loggers, plan="gradual_unfreeze", every=8)
    trainer.fit()
    loggers[0].close()
    events = events_of(tmp_path / "t")
    plan = trainer.run.plan
    assert {f"lr/{label}" for label in plan.labels} <= set(events.Tags()["scalars"])
    curve = events.Scalars("lr/text/blocks.2")
    assert [event.step for event in curve] == list(range(1, 16))
    for event in curve:
        cursor = plan.cursor(event.step - 1, 15, steps_per_epoch=5)
        assert event.value == pytest.approx(plan.lr_at("text/blocks.2", cursor))


# loggers of the caller's own


class Mine(Logger):
    """Remembers, over processes too, what it was called with."""

    def __init__(self):
        self.calls, self.run, self.number = [], None, 0

    def begin(self, run):
        self.run = run
        self.calls.append("begin")

    def log(self, step, values):
        self.number += 1
        self.calls.append(("log", step, *values))

    def flush(self):
        self.calls.append("flush")

    def close(self, *, failed=False):
        self.calls.append("failed" if failed else "close")

    def state_dict(self):
        return {"number": self.number}

    def load_state_dict(self, state):
        self.calls.append("load")
        self.number = state["number"]


class Lines(Logger):
    """All that has to be written."""

    def __init__(self):
        self.steps = []

    def log(self, step, values):
        self.steps.append(step)


class OtherKind:
    """Derives from nothing."""

    begin = log = flush = load_state_dict = lambda self, *given: None

    def close(self, *, failed=False):
        pass

    def state_dict(self):
        return {}


def test_a_logger_is_told_of_the_fit_and_closed(tmp_path):
    mine, lines = Mine(), Lines()
    predictor = fit(tmp_path / "run", loggers=[mine, lines, OtherKind()])
    assert mine.calls[0] == "begin"
    assert mine.calls[-1] == "close"
    assert mine.calls.count("flush") == 1 + predictor.history["step"].max()
    assert mine.run.options["optim.max_epochs"] == 2
    assert (mine.run.folder, mine.run.name, mine.run.after) == (tmp_path / "run-logs", "run", None)
    assert sorted(set(lines.steps)) == list(range(7))


def test_a_resumed_logger_gets_its_state_back(tmp_path):
    with killed_before(4):
        fit(tmp_path / "run", loggers=[first := Mine()])
    assert first.calls[-1] == "failed"
    last = Mine()
    fit(tmp_path / "run", loggers=[last, Lines()], resume=True)
    assert last.calls[:2] == ["load", "begin"]
    assert last.run.after == 3
    assert min(call[1] for call in last.calls if call[0] == "log") == 4
    whole = Mine()
    fit(loggers=[whole])
    assert last.number == whole.number


def test_one_logger_for_all_trials_of_a_search():
    pytest.importorskip("optuna")
    mine = Mine()
    options = {**TINY, "optim.lr": "loguniform(1e-4, 1e-2)"}
    Predictor("y", verbosity=0).fit(make_table(60), hyperparameters=options, loggers=mine, search={"trials": 2})
    assert [call for call in mine.calls if isinstance(call, str)] == ["begin", "close"] * 2
    assert (mine.run.trial, mine.run.name) == ("trial-2", "")


def test_files_of_trials_are_apart(tmp_path):
    for trial in ("trial-0", "trial-1"):
        begun(CSV(tmp_path / "a.csv"), trial=trial).close()
    assert sorted(one.name for one in tmp_path.iterdir()) == ["a-trial-0.csv", "a-trial-1.csv"]


class Bad(Mine):
    """Fails at a moment."""

    def __init__(self, moment):
        super().__init__()
        self.moment = moment

    def log(self, step, values):
        super().log(step, values)
        if self.moment == "log" and step == 2:
            raise RuntimeError("no route to host")

    def flush(self):
        if self.moment == "flush":
            raise OSError("No space left on device")

    def close(self, *, failed=False):
        super().close(failed=failed)
        if self.moment == "close":
            raise ConnectionError("gone")


@pytest.mark.parametrize(
    ("moment", "says"), [("log", "no route to host"), ("flush", "No space left"), ("close", "ConnectionError: gone")]
)
def test_a_logger_that_fails_is_one_warning_and_training_goes_on(tmp_path, moment, says):
    bad, good = Bad(moment), Mine()
    with pytest.warns(ThermoclineWarning, match=f"The logger Bad failed.*{says}") as warned:
        predictor = fit(tmp_path / "run", loggers=[bad, good])
    assert len(warned) == 1
    assert predictor.history["step"].max() == 6
    assert good.calls[-1] == "close"
    if moment == "log":
        assert bad.calls[-1] == "failed"


class NoBegin(Mine):
    def begin(self, run):
        raise OSError("no such server")


def test_a_logger_that_cannot_begin_ends_the_fit_before_it_trains():
    other = Mine()
    message = told(LoggerError, RuntimeError, lambda: fit(loggers=[other, NoBegin()]))
    assert "The logger NoBegin cannot begin (OSError: no such server). Nothing was trained." in message
    assert other.calls == ["begin", "failed"]


def test_a_folder_that_may_not_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    message = told(LoggerError, RuntimeError, lambda: fit(loggers=[CSV(tmp_path / "file" / "a.csv")]))
    assert "The logger CSV cannot begin" in message


def test_a_log_of_another_tool_is_not_replaced(tmp_path):
    (tmp_path / "mine.csv").write_text("a,b\n")
    message = told(OutputExistsError, FileExistsError, lambda: fit(loggers=[CSV(tmp_path / "mine.csv")]))
    assert "it is no log of a run" in message


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("csv", "hyperparameters={'env.loggers': ['csv']}"),
        (["csv", CSV], "Names are values of an option"),
        ([print], "derive from thermocline.Logger"),
        ([Logger], "lacks 'log'"),
        ([Bad], "make one, Bad(…)"),
        ({"a": 1}, "a list of objects"),
    ],
)
def test_what_is_no_logger(given, says, no_loading):
    assert says in told(ConfigError, ValueError, lambda: fit(loggers=given))


def test_loggers_without_a_place(no_loading):
    for loggers, options in (([CSV], {}), ((), {"env.loggers": "csv"}), ([TensorBoard()], {})):
        call = lambda loggers=loggers, options=options: fit(loggers=loggers, **options)  # noqa: E731
        assert "Or say where: fit(loggers=[" in told(ConfigError, ValueError, call)
