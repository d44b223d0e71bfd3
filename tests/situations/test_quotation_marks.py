"""A stray quotation mark merges no lines in silence."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import pandas as pd
import pytest

from thermocline import Predictor
from thermocline.data.frames import read_frame
from thermocline.errors import DataError

LINES = [f"{'good' if row % 2 else 'bad'} film number {row},{'yes' if row % 2 else 'no'}" for row in range(120)]


def written(path: Path, lines: list[str], header: str = "text,y") -> Path:
    content = ("\n".join([header, *lines]) + "\n").encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def stray(*rows: int) -> list[str]:
    return [('"' if row in rows else "") + line for row, line in enumerate(LINES)]


# -- lines that a mark merges ----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz"])
def test_two_marks_that_nobody_closed_are_named_with_their_lines(tmp_path, name):
    path = written(tmp_path / name, stray(20, 61))
    with pytest.raises(DataError, match=r"lines 22 to 63 would become one row.*opens in line 22 \('bad film number 20"):
        read_frame(path)
    with pytest.raises(DataError, match=r"whole rows. Close the mark in its own line.*quoting=3"):
        Predictor("y", verbosity=0).fit(path)


def both(first: str, last: str, between: int = 3) -> list[str]:
    return [*LINES[:20], first, *LINES[20 : 20 + between], last, *LINES[60:]]


@pytest.mark.parametrize(
    "lines",
    [
        both('"so it said,yes', 'a screen of 6 " is small,no'),  # closed within a later text
        both('"so it said,yes', 'a screen of 6",no'),  # closed where a cell ends: well quoted, but whole rows
        both('"so it said,yes', '"odd,no', between=0),  # two lines that follow each other
        stray(0, 119),
        stray(1, 2, 50, 51),
    ],
)
def test_other_ways_to_merge_lines(tmp_path, lines):
    with pytest.raises(DataError, match=r"lines \d+ to \d+ would become one row"):
        read_frame(written(tmp_path / "a.csv", lines))


def test_marks_in_any_column_and_any_number_of_columns(tmp_path):
    rows = [f"{row},word {row},{['no', 'yes'][row % 2]}" for row in range(20)]
    rows[4], rows[9] = '4,"word 4,no', '9,"word 9,yes'
    with pytest.raises(DataError, match="lines 6 to 11"):
        read_frame(written(tmp_path / "a.csv", rows, "id,text,y"))
    with pytest.raises(DataError, match="lines 3 to 5"):
        read_frame(written(tmp_path / "b.csv", ["one", '"two', "three", '"four', "five"], "text"))
    with pytest.raises(DataError, match="lines 1 to 3"):
        read_frame(written(tmp_path / "c.csv", ["one,yes", '"two,no', "three,yes"], '"text,y'))


def test_marks_after_which_a_line_has_other_cells_are_named(tmp_path):
    for last in ('"well, no",no', "nothing closes it,no"):
        path = written(tmp_path / "a.csv", both('"so it said,yes', last))
        with pytest.raises(DataError, match=r"cannot be read as a table: .*A cell in line 22 begins with a quotation"):
            read_frame(path)


def test_rows_to_predict_are_checked_too(tmp_path):
    frame = pd.DataFrame({"x": range(20), "text": ["red", "blue"] * 10, "y": [0, 1] * 10})
    options = {"optim.max_epochs": 1, "env.batch_size": 8, "env.device": "cpu", "model.table.width": 8}
    predictor = Predictor("y", verbosity=0).fit(frame, hyperparameters=options)
    path = written(tmp_path / "a.csv", ["red,1", '"red,2', "blue,3", '"red,4', "blue,5"], "text,x")
    with pytest.raises(DataError, match="lines 3 to 5"):
        predictor.predict(path)


# -- text of several lines -------------------------------------------------------------------------

TEXTS = [
    "Dear Sir, hello\nbye",
    'She said, "no, never"\n\nand left',
    "a,b\n1,2\n3,4",
    "1\n2\n3",
    'ends with "',
    '"begins',
    "one, two\r\nthree, four\r\nfive",
]


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
@pytest.mark.parametrize("label", [["yes", "no"], [0.5, 2.0]])
def test_text_of_several_lines_stays_one_cell(tmp_path, suffix, label):
    frame = pd.DataFrame({"text": [*TEXTS, "plain"] * 4, "y": label * 16})
    for quoting in (csv.QUOTE_MINIMAL, csv.QUOTE_ALL):
        frame.to_csv(tmp_path / f"a{suffix}", index=False, sep="\t" if suffix == ".tsv" else ",", quoting=quoting)
        pd.testing.assert_frame_equal(read_frame(tmp_path / f"a{suffix}")[0], frame)


# -- TSV -------------------------------------------------------------------------------------------


def test_a_tsv_that_does_not_quote_keeps_its_lines_and_marks(tmp_path):
    lines = [line.replace(",", "\t") for line in stray(20, 61, 62)]
    read, _ = read_frame(written(tmp_path / "a.tsv", lines, "text\ty"))
    assert read["text"].tolist() == [line.split("\t")[0] for line in lines]
    read, _ = read_frame(written(tmp_path / "a.tsv", [*lines, '"a ""quoted"" cell"\tno', '""\tno'], '"text"\t"y"'))
    assert list(read.columns) == ["text", "y"]
    assert read["text"].tolist()[20] == '"bad film number 20'
    assert read["text"].fillna("").tolist()[-2:] == ['a "quoted" cell', ""]


def test_a_tsv_with_text_of_several_lines_is_checked_as_a_csv_is(tmp_path):
    lines = [line.replace(",", "\t") for line in stray(20, 61)]
    with pytest.raises(DataError, match=r"lines 23 to 64 would become one row"):
        read_frame(written(tmp_path / "a.tsv", ['"two\nlines"\tno', *lines[1:]], "text\ty"))
