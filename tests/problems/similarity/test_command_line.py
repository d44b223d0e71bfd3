"""`thermocline fit --query --response` and `thermocline search`."""

from __future__ import annotations

import json

import pytest

from support.tiny_pairs import make_pairs, options
from thermocline.cli import main


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("command")
    make_pairs(24)[["first", "second", "grade"]].to_csv(folder / "train.csv", index=False)
    chosen = [f"{name}={value}" for name, value in options(folder, **{"optim.max_epochs": 1}).items()]
    fit = ["fit", str(folder / "train.csv"), "--problem-type", "similarity", "--query", "first", "--response", "second"]
    assert main([*fit, "--label", "grade", "--out", str(folder / "model"), "--quiet", "--set", *chosen]) == 0
    return folder


def test_it_searches_files_and_saved_corpora(folder, capsys):
    given = [str(folder / "model"), str(folder / "train.csv")]
    more = ["-k", "2", "--save-corpus", str(folder / "corpus"), "--out", str(folder / "found.csv")]
    assert main(["search", *given, str(folder / "train.csv"), *more]) == 0
    lines = (folder / "found.csv").read_text().splitlines()
    assert lines[0] == "query,response,score,rank"
    assert len(lines) == 1 + 2 * 24
    capsys.readouterr()
    assert main(["search", *given, str(folder / "corpus"), "-k", "1", "--json"]) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(found) == 24
    assert {one["rank"] for one in found} == {1}


def test_errors_are_one_paragraph(folder, capsys):
    given = ["search", str(folder / "model"), str(folder / "train.csv")]
    assert main([*given, str(folder / "train.csv"), "-k", "0"]) == 1
    assert "k is a whole number of at least 1" in capsys.readouterr().err
    with pytest.raises(SystemExit) as caught:
        main(["fit", str(folder / "train.csv"), "--out", str(folder / "other")])
    assert caught.value.code == 2
    assert "--label" in capsys.readouterr().err
