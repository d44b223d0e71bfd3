"""Where numbers go: CSV lines, TensorBoard events."""

import csv
import sys

import pytest

from thermocline.errors import MissingDependencyError
from thermocline.training.callbacks import CSVLogger, TensorBoardLogger, make_loggers


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
    assert isinstance(made[0], CSVLogger)
    for logger in made:
        logger.close()
    assert (tmp_path / "metrics.csv").is_file()
    assert make_loggers([], tmp_path / "none") == []
    assert not (tmp_path / "none").exists()
