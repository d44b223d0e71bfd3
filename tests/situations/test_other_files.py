"""A path that is no table of ours is an error that says how to read what it names."""

from __future__ import annotations

import gzip
import zipfile

import pandas as pd
import pytest

from support.tiny import make_table, told
from thermocline.data.frames import check_names, read_frame
from thermocline.errors import DataError


def why(path):
    return told(DataError, ValueError, lambda: read_frame(path))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("rows.jsonl", "pd.read_json('rows.jsonl', lines=True)"),
        ("rows.json", "If it is a COCO file, pass problem_type='object_detection'"),
        ("rows.xlsx", "pd.read_excel('rows.xlsx')"),
        ("rows.feather", "pd.read_feather('rows.feather')"),
        ("rows.pkl", "pd.read_pickle('rows.pkl')"),
        ("rows.txt", "pd.read_csv('rows.txt', sep=None, engine='python')"),
        ("options.yaml", "A preset is given as presets='options.yaml'"),
        ("https://example.org/rows.csv?raw=true", "is an address, not a path"),
        ("s3://bucket/rows.parquet", "pd.read_parquet('s3://bucket/rows.parquet')"),
        ("data/*.csv", "glob.glob('data/*.csv')"),
        ("x,y\n1,2\n" * 1000, "has several lines, so it is no path"),
        ("rows", "does not exist"),
    ],
)
def test_other_paths(name, words):
    assert words in why(name)


def test_a_folder_of_tables(tmp_path):
    for kind, write in (("csv", pd.DataFrame.to_csv), ("parquet", pd.DataFrame.to_parquet)):
        folder = tmp_path / kind
        folder.mkdir()
        if kind == "parquet":
            pytest.importorskip("pyarrow")
        write(make_table(4), folder / f"part.{kind}")
        assert f"It holds 'part.{kind}': pass the path of that file." in why(folder)
        write(make_table(4), folder / f"rest.{kind}")
        assert f"pd.concat(map(pd.read_{kind}, Path({str(folder)!r}).glob('*.{kind}'))" in why(folder)


def test_packed_files_that_are_not_what_their_names_say(tmp_path):
    text = make_table(4).to_csv(index=False)
    (tmp_path / "good.csv.gz").write_bytes(gzip.compress(text.encode()))
    assert len(read_frame(tmp_path / "good.csv.gz")[0]) == 4
    for name in ("bad.csv.gz", "bad.csv.bz2", "bad.csv.xz", "bad.csv.zip", "bad.tsv.gz"):
        (tmp_path / name).write_text(text)
        assert "Unpack it, and pass the path of one table" in why(tmp_path / name), name
    (tmp_path / "cut.csv.gz").write_bytes(gzip.compress(text.encode() * 100)[:-20])
    assert "cannot be read" in why(tmp_path / "cut.csv.gz")
    for files in ([], ["a.csv", "b.csv"]):
        with zipfile.ZipFile(tmp_path / "many.csv.zip", "w") as archive:
            for file in files:
                archive.writestr(file, text)
        assert "Unpack it, and pass the path of one table" in why(tmp_path / "many.csv.zip")


def test_a_file_that_may_not_be_read(tmp_path, monkeypatch):
    import pathlib

    (tmp_path / "mine.csv").write_text("x,y\n1,2\n")

    def refuse(*_args, **_kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    assert pathlib.Path(tmp_path / "mine.csv").is_file()
    assert "Permission denied" in why(tmp_path / "mine.csv")


def test_columns_of_several_levels_are_joined():
    frame = pd.concat({"a": make_table(4)}, axis=1)
    assert "`frame.columns = frame.columns.map('_'.join)`" in told(DataError, ValueError, lambda: check_names(frame))
    frame.columns = frame.columns.map("_".join)
    check_names(frame)
