"""Text files with other separators and encodings."""

from __future__ import annotations

import gzip
from pathlib import Path

import pandas as pd
import pytest

from thermocline.data.frames import read_frame
from thermocline.errors import DataError

FRAME = pd.DataFrame({"text": ["a, b", "c; d", 'e "f" | g', "h\ti"], "x": [1.5, 2, 3, 4], "y": ["0", "yes", "no", "x"]})


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.csv.zip", "a.csv.xz", "a.csv.bz2"])
def test_the_separator_is_found(tmp_path, separator, name):
    FRAME.to_csv(tmp_path / name, index=False, sep=separator)
    pd.testing.assert_frame_equal(read_frame(tmp_path / name)[0], FRAME)


@pytest.mark.parametrize(
    ("content", "columns"),
    [
        ("text\none; two\nthree\n", ["text"]),
        ("a;b\none\ntwo;three\n", ["a;b"]),  # the next line has no such cells
        ("a;b,c\none;two,three\n", ["a;b", "c"]),
        ("\ufeffa;b\n1;2\n", ["a", "b"]),
        ('"a, in m";b\n1;2\n', ["a, in m", "b"]),
        ("a|b;c|d\n1|2;3|4\n", ["a", "b;c", "d"]),
        ("a;b\n", ["a", "b"]),
        ('a;b\n"one\ntwo; three";1\n', ["a", "b"]),
    ],
)
def test_a_comma_is_the_separator_unless_another_fits(tmp_path, content, columns):
    (tmp_path / "a.csv").write_text(content, encoding="utf-8")
    assert list(read_frame(tmp_path / "a.csv")[0].columns) == columns


def test_decimal_commas_are_named(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("x;y\n1,5;a\n;b\n2;a\n")
    with pytest.raises(DataError, match=r"column 'x' are written with a decimal comma \('1,5'\).*decimal=','"):
        read_frame(path)
    path.write_text("x;y\n1,5 or 2;a\n3,5;b\n")
    assert read_frame(path)[0]["x"].tolist() == ["1,5 or 2", "3,5"]


@pytest.mark.parametrize(
    ("encoding", "message"),
    [
        ("cp1252", r"line 3, which as cp1252 reads 'zwölf €,1'\).*encoding='cp1252'"),
        ("utf-16", r"begins as UTF-16 does.*encoding='utf-16'"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_the_likely_encoding_is_named(tmp_path: Path, encoding: str, message: str, packed: bool):
    content = "x,y\none,2\nzwölf €,1\n".encode(encoding)
    path = tmp_path / ("a.csv.gz" if packed else "a.csv")
    path.write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(DataError, match=message):
        read_frame(path)


def test_bytes_that_no_code_page_has_are_named_too(tmp_path):
    (tmp_path / "a.tsv").write_bytes(b'x\ty\n"\x81\t1\n')
    with pytest.raises(DataError, match=r"not UTF-8 text.*line 2.*encoding='latin-1'"):
        read_frame(tmp_path / "a.tsv")
