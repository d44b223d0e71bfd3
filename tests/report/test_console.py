"""Lines of a fit are records of the logger `thermocline`: printed by default, else the caller's handlers have them."""

import io
import logging
import subprocess
import sys

import pytest

from support.tiny import TINY, make_table
from thermocline import Predictor
from thermocline.report.console import Console

LOG = logging.getLogger("thermocline")


@pytest.fixture(autouse=True)
def as_before():
    """The loggers as they were, after a test that sets them up."""
    root = logging.getLogger()
    kept = [(one, one.level, list(one.handlers), list(one.filters), one.propagate) for one in (LOG, root)]
    yield
    for one, level, handlers, filters, propagate in kept:
        one.setLevel(level)
        one.handlers[:], one.filters[:], one.propagate = handlers, filters, propagate
    logging.disable(logging.NOTSET)


class Kept(logging.Handler):
    """Keeps messages."""

    def __init__(self, level=logging.NOTSET):
        super().__init__(level)
        self.messages = []

    def emit(self, record):
        self.messages.append(record.getMessage())


def said(line="a line", verbosity=1):
    Console(verbosity).say(line)


def test_a_line_is_printed_by_default(capsys):
    said("one\ntwo")
    said("three\x1b[2J")
    assert capsys.readouterr() == ("one\ntwo\nthree\\x1b[2J\n", "")
    assert (LOG.handlers, LOG.level, LOG.propagate) == ([], logging.NOTSET, True)


def test_handlers_of_the_logger_take_the_place_of_printing(capsys):
    kept, errors = Kept(), Kept(logging.ERROR)
    LOG.addHandler(kept)
    LOG.addHandler(errors)
    said()
    assert (kept.messages, errors.messages, capsys.readouterr().out) == (["a line"], [], "")
    LOG.setLevel(logging.INFO)
    said()
    assert kept.messages == ["a line"] * 2


def test_logging_that_was_set_up_for_all_gets_each_line_once(capsys):
    kept = Kept()
    logging.getLogger().addHandler(kept)
    said()  # the root logger's level is WARNING: nobody else shows it
    assert (kept.messages, capsys.readouterr().out) == ([], "a line\n")
    logging.getLogger().setLevel(logging.INFO)
    said()
    assert (kept.messages, capsys.readouterr().out) == (["a line"], "")


def test_basic_config_shows_each_line_once():
    code = (
        "import logging\nlogging.basicConfig(level='INFO', format='%(name)s %(levelname)s %(message)s')\n"
        "from thermocline.report.console import Console\nConsole(1).say('a line')\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (ran.stdout, ran.stderr) == ("", "thermocline INFO a line\n")


def test_importing_sets_nothing_up():
    code = (
        "import logging\nbefore = set(logging.root.manager.loggerDict)\nimport thermocline\n"
        "from thermocline import Predictor, Callback, Logger, CSV\n"
        "from thermocline.report.console import Console\nConsole(0).say('a line')\n"
        "log = logging.getLogger('thermocline')\nassert not log.handlers and not logging.root.handlers\n"
        "assert log.level == 0 and log.propagate and logging.root.level == 30"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("how", ["level", "disable", "verbosity", "null handler", "filter"])
def test_what_silences(how, capsys):
    if how == "level":
        LOG.setLevel(logging.WARNING)
    elif how == "disable":
        logging.disable(logging.INFO)
    elif how == "null handler":
        LOG.addHandler(logging.NullHandler())
    elif how == "filter":
        LOG.addFilter(lambda record: False)
    said(verbosity=0 if how == "verbosity" else 1)
    assert capsys.readouterr() == ("", "")


def test_a_level_alone_does_not_take_printing_away(capsys):
    logging.getLogger().handlers[:] = []  # of pytest
    LOG.setLevel(logging.DEBUG)
    said()
    assert capsys.readouterr().out == "a line\n"


def test_caplog_has_the_lines_of_a_fit(caplog, capsys):
    caplog.set_level("INFO", "thermocline")
    Predictor("y").fit(make_table(40), hyperparameters={**TINY, "optim.max_epochs": 1})
    assert any(message.startswith("epoch 1.00") for message in caplog.messages)
    assert {record.name for record in caplog.records} == {"thermocline"}
    assert capsys.readouterr().out == ""


def lines_of(text):
    """The lines without what they say about time."""
    lines = text.partition("\nTime  ")[0].splitlines() + text.partition("\nSaved  ")[2].splitlines()
    return [line.split("  (")[0] for line in lines]


def test_a_file_has_the_same_lines_as_stdout(tmp_path, capsys):
    options = {**TINY, "optim.max_epochs": 1}
    Predictor("y").fit(make_table(40), hyperparameters=options)
    printed = capsys.readouterr().out
    file = logging.FileHandler(tmp_path / "fit.log", encoding="utf-8")
    LOG.addHandler(file)
    Predictor("y").fit(make_table(40), hyperparameters=options)
    file.close()
    logged = (tmp_path / "fit.log").read_text(encoding="utf-8")
    assert lines_of(logged) == lines_of(printed)
    assert capsys.readouterr().out == ""


def test_a_silent_fit_says_nothing_to_handlers_either():
    kept = Kept()
    LOG.addHandler(kept)
    LOG.setLevel(logging.DEBUG)
    Predictor("y", verbosity=0).fit(make_table(40), hyperparameters={**TINY, "optim.max_epochs": 1})
    assert kept.messages == []


def test_a_stream_that_is_gone_ends_nothing(monkeypatch):
    gone = io.StringIO()
    gone.close()
    monkeypatch.setattr(sys, "stdout", gone)
    said()
    monkeypatch.setattr(sys, "stdout", None)
    said()
