"""Where numbers go: CSV lines, TensorBoard events."""

import csv
import sys

import pytest

from support.stopping import Killed, Trap, stop_after, trainer_of
from thermocline.errors import MissingDependencyError
from thermocline.training.loggers import CSVLogger, TensorBoardLogger, make_loggers


def test_csv_lines(tmp_path):
    logger = CSVLogger(tmp_path / "new" / "metrics.csv")
    logger.log(1, {"loss": 0.1, "lr/text/encoder.layer.3": 1e-05})
    logger.log(2, {"val_accuracy": 1 / 3})
    logger.close()
    lines = list(csv.reader((tmp_path / "new" / "metrics.csv").read_text().splitlines()))
    assert lines[0] == ["step", "name", "value"]
    assert lines[2] == ["1", "lr/text/encoder.layer.3", "1e-05"]
    assert float(lines[3][2]) == 1 / 3  # nothing is rounded


def test_tensorboard_events(tmp_path):
    pytest.importorskip("tensorboard")
    logger = TensorBoardLogger(tmp_path)
    logger.log(3, {"loss": 0.5, "lr/text/encoder.layer.3": 0.25})
    logger.close()
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert set(events.Tags()["scalars"]) == {"loss", "lr/text/encoder.layer.3"}
    (one,) = events.Scalars("loss")
    assert (one.step, one.value) == (3, 0.5)


def test_tensorboard_that_is_not_installed(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'thermocline\[tensorboard\]'"):
        TensorBoardLogger(tmp_path)


def test_loggers_by_name(tmp_path):
    made = make_loggers(["csv"], tmp_path)
    assert isinstance(made[0].logger, CSVLogger)
    for logger in made:
        logger.close()
    assert (tmp_path / "metrics.csv").is_file()
    assert make_loggers([], tmp_path / "none") == []
    assert not (tmp_path / "none").exists()


def test_csv_goes_on_after_the_step_of_a_checkpoint(tmp_path):
    file = tmp_path / "metrics.csv"
    logger = CSVLogger(file)
    for step in (1, 2, 3, 4):
        logger.log(step, {"loss": step / 10, "lr/a,b": 1.0})
    logger.flush()
    logger.close()
    whole = file.read_bytes()
    with file.open("ab") as half:
        half.write(b"4,val_accu")  # killed in the middle of a line
    logger = CSVLogger(file, after=2)
    for step in (3, 4):
        logger.log(step, {"loss": step / 10, "lr/a,b": 1.0})
    logger.close()
    assert file.read_bytes() == whole
    for after in (None, 0):
        CSVLogger(file, after=after).close()
        assert file.read_text().split() == ["step,name,value"]


def test_tensorboard_has_one_curve_a_layer_and_goes_on(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    stop_after(tmp_path / "c", 7, loggers=[TensorBoardLogger(tmp_path / "t")], plan="gradual_unfreeze")
    loggers = [TensorBoardLogger(tmp_path / "t", 7)]
    trainer = trainer_of(tmp_path / "c", Trap([("step", 15)]), loggers=loggers, plan="gradual_unfreeze", every=8)
    with pytest.raises(Killed):  # what it logs after the checkpoint is told again by the next process
        trainer.fit()
    loggers = [TensorBoardLogger(tmp_path / "t", 8)]
    trainer = trainer_of(tmp_path / "c", loggers=loggers, plan="gradual_unfreeze", every=8)
    trainer.fit()
    loggers[0].close()
    events = EventAccumulator(str(tmp_path / "t"))
    events.Reload()
    plan = trainer.run.plan
    assert {f"lr/{label}" for label in plan.labels} <= set(events.Tags()["scalars"])
    curve = events.Scalars("lr/text/blocks.2")
    assert [event.step for event in curve] == [1, 11, 15]
    for event in curve:
        cursor = plan.cursor(event.step - 1, 15, steps_per_epoch=5)
        assert event.value == pytest.approx(plan.lr_at("text/blocks.2", cursor))
