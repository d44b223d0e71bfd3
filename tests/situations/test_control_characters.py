"""Newlines, tabs, terminal escapes and letters that turn the direction of text, in names: shown, never sent raw."""

from __future__ import annotations

import warnings

import pandas as pd
import pytest

from support.tiny import TINY, make_table
from thermocline import Predictor
from thermocline.cli import main
from thermocline.errors import escaped
from thermocline.report.console import Console
from thermocline.report.tables import table

NAME = "a\n\x1b[31mred\t\u202eevil\r\x07\x9b\u2028"
SHOWN = r"a\n\x1b[31mred\t\u202eevil\r\x07\x9b\u2028"
ONCE = {**TINY, "optim.max_epochs": 1}


def is_plain(text: str) -> bool:
    return all(one == "\n" or escaped(one) == one for one in text)


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (NAME, SHOWN),
        ("日本 é × 👩\u200d💻 \xa0\u3000", "日本 é × 👩\u200d💻 \xa0\u3000"),
        ("\0\x7f\u2066\ufeff", r"\x00\x7f\u2066\ufeff"),
    ],
)
def test_what_is_escaped(given, shown):
    assert escaped(given) == shown


def test_tables_keep_their_lines():
    assert len(table([[NAME, "1"], ["b", "2"]], ["name", "n"]).splitlines()) == 3


def test_columns_classes_and_missing_values(capsys, caplog):
    frame = make_table(40).rename(columns={"x": NAME})
    frame["y"] = frame["y"].map({"yes": "y\x1b[2J", "no": "n\no"})
    predictor = Predictor("y", verbosity=2).fit(frame, hyperparameters=ONCE)
    caplog.set_level("INFO", "thermocline")  # from here on lines go to the handler alone
    predictor.predict(frame.assign(**{NAME: [None, *frame[NAME][1:]]}))
    Console(1).missing({NAME: 3}, 40, set())
    assert len(caplog.messages) == 2
    assert all(is_plain(message) for message in caplog.messages)
    out = f"{capsys.readouterr().out}\n{predictor.columns}"
    assert is_plain(out)
    assert out.count(f"\n{SHOWN}  numeric") == 2


def test_commands(tmp_path, capsys):
    folder = tmp_path / "m\x1b[31m"
    frame = make_table(40).rename(columns={"x": NAME})
    frame.to_parquet(tmp_path / "rows.parquet")
    data, options = str(tmp_path / "rows.parquet"), [f"{key}={value}" for key, value in ONCE.items()]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert main(["fit", data, "--label", "y", "--out", str(folder), "--set", *options]) == 0
        assert main(["evaluate", str(folder), data]) == 0
    pd.DataFrame({"z": [1.0], "colour": ["red"]}).to_csv(tmp_path / "few.csv", index=False)
    assert main(["predict", str(folder), str(tmp_path / "few.csv")]) == 1
    assert main(["predict", str(tmp_path / "no\x1b[31m\n"), data]) == 1
    said = capsys.readouterr()
    assert is_plain(said.out)
    assert is_plain(said.err.partition("thermocline: ")[2])
    assert "saved to" in said.out
