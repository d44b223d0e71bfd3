"""Consoles, pipes and logs that are not UTF-8, are closed, or are not there: printing ends no run."""

from __future__ import annotations

import io
import sys

import pytest

from support.tiny import TINY, make_table
from thermocline import Predictor
from thermocline.cli import main
from thermocline.report.console import Console
from thermocline.report.output import Tolerant

ONCE = {**TINY, "optim.max_epochs": 1}
STRANGE = {"x": "日本", "colour": "█é"}


class Gone(io.TextIOBase):
    """A pipe whose reader has gone."""

    def write(self, text=""):
        raise BrokenPipeError(32, "Broken pipe")

    flush = write


def closed():
    stream = io.StringIO()
    stream.close()
    return stream


class Full(io.TextIOBase):
    def write(self, text):
        raise OSError(28, "No space left on device")


def encoded(encoding):
    return io.TextIOWrapper(io.BytesIO(), encoding=encoding, write_through=True)


class Terminal(io.TextIOWrapper):
    def isatty(self):
        return True


def text_of(stream):
    return stream.buffer.getvalue().decode(stream.encoding)


NOWHERE = {"none": lambda: None, "closed": closed, "gone": Gone, "full": Full}
ENCODINGS = ["ascii", "cp1252", "latin-1", "cp437", "shift_jis", "utf-8", "utf-16"]


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_letters_that_an_encoding_lacks(encoding):
    stream = encoded(encoding)
    Tolerant(stream).write("日本 █· 5 × 3 … é \udcff\n")
    written = text_of(stream)
    assert written.endswith(" \\udcff\n")
    if encoding == "ascii":
        assert written == "\\u65e5\\u672c #. 5 x 3 ... \\xe9 \\udcff\n"
    if encoding.startswith("utf"):
        assert written == "日本 █· 5 × 3 … é \\udcff\n"


@pytest.mark.parametrize("make", NOWHERE.values(), ids=NOWHERE)
def test_nowhere_to_print(make, monkeypatch):
    monkeypatch.setattr(sys, "stdout", make())
    monkeypatch.setattr(sys, "stderr", make())
    console = Console(1)
    console.say("×")
    assert list(console.progress(range(3), 3, "×")) == [0, 1, 2]
    Predictor("y").fit(make_table(40), hyperparameters=ONCE).predict(make_table(3))


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_a_fit_prints_columns_of_any_name(encoding, monkeypatch):
    out, bars = encoded(encoding), Terminal(io.BytesIO(), encoding=encoding, write_through=True)
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", bars)
    frame = make_table(40).rename(columns=STRANGE)
    Predictor("y", verbosity=2).fit(frame, hyperparameters=ONCE).predict(frame.assign(日本=None))
    assert "\\u65e5\\u672c" in text_of(out)
    assert "training" in text_of(bars)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    frame = make_table(40).rename(columns={"x": "日本"})
    frame["y"] = frame["y"].map({"yes": "はい", "no": "×"})
    frame.to_csv(folder / "rows.csv", index=False)
    Predictor("y", path=folder / "model", verbosity=0).fit(frame, hyperparameters=ONCE)
    return [str(folder / "model"), str(folder / "rows.csv")]


def test_commands_print_to_ascii(saved, monkeypatch, capfd):
    out = encoded("ascii")
    monkeypatch.setattr(sys, "stdout", out)
    explain = ["explain", saved[1], "--label", "y", "--set", *[f"{key}={value}" for key, value in ONCE.items()]]
    for command in (["predict", *saved], ["evaluate", *saved], ["presets", "ls"], explain):
        assert main(command) == 0
    assert "\\u306f\\u3044" in text_of(out)
    assert out.errors == "strict"
    said = capfd.readouterr().err
    assert "the output is ascii; letters that it lacks are written as \\uXXXX. --out FILE writes UTF-8" in said
    assert main(["evaluate", saved[0], saved[1], "--metrics", "nö"]) == 1


def test_commands_whose_output_is_lost(saved, monkeypatch, capsys):
    for make, status in ((Gone, 0), (Full, 1), (lambda: None, 0)):
        monkeypatch.setattr(sys, "stdout", make())
        assert main(["predict", *saved]) == status
    assert "No space left" in capsys.readouterr().err
